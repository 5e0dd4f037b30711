"""What operators do to an image: any UID, a read-only root, no network, no TTY, SIGTERM."""

from __future__ import annotations

from imagecheck.bench import Bench, Blocked
from imagecheck.engine.boots import ANY_UID, LOCKED, OFFLINE, PLAIN, READ_ONLY, Boot
from imagecheck.engine.container import ProbeError
from imagecheck.engine.service import expects_jupyter
from imagecheck.outcome import Finding, failed, passed, skipped
from imagecheck.registry import promise


def computes(bench: Bench, boot: Boot) -> tuple[str, str]:
    """(what went wrong, the log); both empty where torch imports and computes under `boot`."""
    try:
        document = bench.torch_probe("hello", boot=boot)
    except ProbeError as error:
        return error.what, error.log
    return document.get("error", ""), ""


def judge_isolation(bench: Bench, boot: Boot, *, told: str, remedy: str) -> Finding:
    """One boot answers for all isolations; only where it fails is each tried alone, to say which it was."""
    if computes(bench, LOCKED) == ("", ""):
        return passed(f"torch computes {told}")
    if computes(bench, PLAIN) != ("", ""):
        raise Blocked("torch does not compute in a plain container either")
    wrong, log = computes(bench, boot)
    return failed(wrong.splitlines()[0], remedy=remedy, log=log) if wrong else passed(f"torch computes {told}")


@promise("operations.any-uid", "torch works for a user that the image has never heard of")
def any_uid(bench: Bench) -> Finding:
    return judge_isolation(
        bench,
        ANY_UID,
        told=f"as {ANY_UID.user}, without capabilities",
        remedy="let everyone read and enter what is installed (chmod -R a+rX), and the working directory",
    )


@promise("operations.read-only", "torch works on a read-only root with nothing writable but /tmp")
def read_only(bench: Bench) -> Finding:
    return judge_isolation(
        bench,
        READ_ONLY,
        told="on a read-only root",
        remedy="what is written at start goes to /tmp or to where a variable says, not beside the installed files",
    )


@promise("operations.offline", "torch works without a network")
def offline(bench: Bench) -> Finding:
    return judge_isolation(
        bench, OFFLINE, told="without a network", remedy="fetch it in the build: nothing is downloaded at import"
    )


@promise("operations.no-tty", "the image's own command works with no terminal")
def no_tty(bench: Bench) -> Finding:
    service = bench.service
    if not service.ended:
        return passed("it ended with 0" if service.ended == 0 else "it runs")
    if expects_jupyter(bench.image, bench.settings) and bench.ends_on_a_terminal():
        return skipped("it ends on a terminal too: see server.answers")
    return failed(
        f"`{bench.image.start_command}` ended with code {service.ended}",
        remedy="ask [ -t 0 ] before anything that needs a terminal; see the last lines",
        log=service.log,
    )


@promise("operations.start-time", "the server answers soon after the start")
def start_time(bench: Bench) -> Finding:
    service, limit = bench.service, bench.settings.start_limit
    if service.jupyter is None:
        return skipped("no Jupyter server answers")
    told = f"{service.seconds:.1f} s (limit {limit:g} s)"
    if service.seconds > limit:
        return failed(
            told,
            remedy="move what is done at every start into the build; ship .pyc files that are fresh",
            seconds=service.seconds,
        )
    return passed(told, seconds=service.seconds)


@promise("operations.stops", "the image's own command ends when it is told to, well before it would be killed")
def stops(bench: Bench) -> Finding:
    service, limit = bench.service, bench.settings.stop_limit
    if service.ended is not None:
        return skipped(f"the command had ended by itself with code {service.ended}")
    seconds = service.stop(limit)
    if seconds is None:
        return failed(
            f"still running {limit:.0f} s after the stop signal",
            remedy="exec the server from the entry point, run it under tini, and use the exec form of CMD",
            log=service.log,
        )
    return passed(f"ended {seconds:.1f} s after the signal", seconds=seconds)
