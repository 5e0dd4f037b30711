/* Stands in for NVIDIA's driver library where there is no GPU: it answers what the file named by STUB_DRIVER says.
 *
 *   line 1: what nvmlInit_v2 returns
 *   line 2: the driver's version
 *   then, a GPU each: "handle-code memory-bytes major minor name"; 0 bytes: it has none of its own; 1: it is a MIG slice
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, MOST = 16 };
struct gpu { int code; unsigned long long bytes; int major, minor; char name[96]; };
struct memory { unsigned long long total, free, used; };

static char version[80];
static unsigned count;
static struct gpu gpus[MOST];

int nvmlInit_v2(void) {
    int code = 999;
    FILE *file = fopen(getenv("STUB_DRIVER"), "r");
    if (!file) return code;
    if (fscanf(file, "%d %79s", &code, version) != 2) code = 999;
    for (count = 0; count < MOST; count++) {
        struct gpu *g = &gpus[count];
        if (fscanf(file, "%d %llu %d %d %95[^\n]", &g->code, &g->bytes, &g->major, &g->minor, g->name) != 5) break;
    }
    fclose(file);
    return code;
}
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "%s", version); return OK; }
int nvmlDeviceGetCount_v2(unsigned *number) { *number = count; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = &gpus[index];
    return gpus[index].code;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    snprintf(text, length, "%s", ((struct gpu *)handle)->name);
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory) {
    memory->total = ((struct gpu *)handle)->bytes;
    return memory->total > 1 ? OK : memory->total ? NO_PERMISSION : NOT_SUPPORTED;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = ((struct gpu *)handle)->major;
    *minor = ((struct gpu *)handle)->minor;
    return OK;
}
const char *nvmlErrorString(int code) {
    switch (code) {
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}
