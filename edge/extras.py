"""What an owner may switch on beside the main way: a page to look at, pictures that are kept, figures for Prometheus."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.config import Settings
from edge.delivery.topics import device_name
from edge.emotion.manifest import Manifest
from edge.errors import ConfigError, RuntimeMissingError
from edge.snapshots import FOLDER, Snapshots

# Each is imported when it is asked for: a device that does without does not carry it.
if TYPE_CHECKING:
    from edge.health.metrics import Figures, Metrics
    from edge.preview import Preview


log = logging.getLogger(__name__)


@dataclass
class Extras:
    """Those that were asked for; None for the rest."""

    page: Preview | None = None
    snapshots: Snapshots | None = None
    metrics: Metrics | None = None

    def start(self, patient: bool) -> None:
        """Begin.

        Args:
            patient: go on without a page that cannot be served: nobody is there to choose another port.

        Raises:
            ConfigError: the page cannot be served.
        """
        if self.snapshots is not None:
            self.snapshots.start()
        if self.page is not None:
            try:
                self.page.start()
            except ConfigError as error:
                if not patient:
                    raise
                log.warning("%s; going on without the page", error)

    def stop(self) -> None:
        """End."""
        for extra in (self.page, self.snapshots, self.metrics):
            if extra is not None:
                extra.stop()


def open_extras(settings: Settings, state_dir: Path, manifest: Manifest) -> Extras:
    """Prepare what the settings ask for; nothing is started yet.

    Raises:
        EmotionEdgeError: the page must not, or cannot, be served as it is set.
    """
    extras = Extras()
    if settings.preview.serve:
        from edge.preview import Preview

        extras.page = Preview(settings.preview, device_name(settings.mqtt), manifest.labels, manifest.identity)
    # Also when pictures are wanted no more: those that are there still have to be deleted in time.
    if settings.snapshots.keep or (state_dir / FOLDER).is_dir():
        extras.snapshots = Snapshots(settings.snapshots, state_dir, settings.detector.regions)
    return extras


def serve_metrics(settings: Settings, figures: Figures, patient: bool) -> Metrics | None:
    """Serve figures for Prometheus, if that is asked for.

    Args:
        figures: see `Metrics`.
        patient: go on without them where they cannot be served.

    Raises:
        RuntimeMissingError: see `Metrics`.
    """
    if not settings.service.metrics_port:
        return None
    from edge.health.metrics import Metrics

    try:
        return Metrics(settings.service.metrics_port, figures)
    except RuntimeMissingError as error:
        if not patient:
            raise
        log.warning("%s; going on without figures for Prometheus", error)
        return None
