"""The container engine: connecting, images, boots, and leaving nothing behind."""
