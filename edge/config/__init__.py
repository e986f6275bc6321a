"""Settings: one TOML file and flags of the same names, read into frozen structs. All mistakes are told at once."""

from __future__ import annotations

from edge.config.read import SECRETS, Values, keys, nearest, read_settings
from edge.config.settings import (
    CameraSettings,
    DeliverySettings,
    DetectorSettings,
    EmotionSettings,
    HomeAssistantSettings,
    ModelSettings,
    MqttSettings,
    PreviewSettings,
    Region,
    ServiceSettings,
    Settings,
    SnapshotSettings,
    TensorRtSettings,
    TrackSettings,
    UpdateSettings,
)

__all__ = [
    "SECRETS",
    "CameraSettings",
    "DeliverySettings",
    "DetectorSettings",
    "EmotionSettings",
    "HomeAssistantSettings",
    "ModelSettings",
    "MqttSettings",
    "PreviewSettings",
    "Region",
    "ServiceSettings",
    "Settings",
    "SnapshotSettings",
    "TensorRtSettings",
    "TrackSettings",
    "UpdateSettings",
    "Values",
    "keys",
    "nearest",
    "read_settings",
]
