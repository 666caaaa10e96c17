"""What becomes of every kind of side data that FFmpeg knows, in frames, packets and streams: no silent loss.

A kind is kept, applied, replaced (it describes the old coding, and the encoder describes the new one), or there is a
sentence for the report that says that it is lost.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, get_args

import numpy as np
from av.packet import Packet, PacketSideData, PktSideDataT
from av.sidedata.sidedata import SideData

from vsr_pipeline.media.read.side_data import plain_name

KEPT: Final = "kept"
APPLIED: Final = "applied"
REPLACED: Final = "replaced"

_CAPTIONS = "closed captions inside the picture are left out"
_BARS = "the active format description, which says where bars are, is left out"
_STEREO = "the mark of a stereo 3D picture is left out, both views are enhanced as one picture"
_SPHERICAL = "the mark of a spherical (360 degrees) picture is left out"
_REFERENCE_DISPLAYS = "the reference displays of a stereo 3D picture are left out"
_HDR10_PLUS = "HDR10+ metadata (SMPTE ST 2094-40) is left out"
_DOLBY_VISION = "Dolby Vision metadata is left out, the base layer is enhanced"
_VIVID = "HDR Vivid metadata is left out"
_DYNAMIC_HDR = "dynamic HDR metadata (SMPTE ST 2094-50) is left out"
_SURROUND_LIGHT = "the ambient viewing environment is left out"
_PROFILE = "the colour profile of the picture is not applied, and left out"
_TIMECODES = "timecodes inside the picture are left out"
_LCEVC = "the LCEVC enhancement layer is not decoded, and left out"
_EXIF = "EXIF metadata of the picture is left out; its orientation is applied"
_TAGS = "tags that belong to single frames are left out"
_IAMF = "how the parts of IAMF sound are mixed is left out"
_ENCRYPTED = "the source has encryption data: frames that are encrypted cannot be decoded"
_BLOCKS = "data beside the frames (Matroska BlockAdditions) is left out"
_USER_DATA = "user data inside the picture (SEI messages) is left out"
_PAN = "the pan and scan window is left out"

FRAME_FATES: Final = {
    "PANSCAN": _PAN,
    "A53_CC": _CAPTIONS,
    "STEREO3D": _STEREO,
    "MATRIXENCODING": KEPT,  # as all of sound, which is copied packet by packet
    "DOWNMIX_INFO": KEPT,
    "REPLAYGAIN": KEPT,
    "DISPLAYMATRIX": APPLIED,
    "AFD": _BARS,
    "MOTION_VECTORS": REPLACED,
    "SKIP_SAMPLES": KEPT,
    "AUDIO_SERVICE_TYPE": KEPT,
    "MASTERING_DISPLAY_METADATA": KEPT,
    "GOP_TIMECODE": _TIMECODES,
    "SPHERICAL": _SPHERICAL,
    "CONTENT_LIGHT_LEVEL": KEPT,
    "ICC_PROFILE": _PROFILE,
    "S12M_TIMECODE": _TIMECODES,
    "DYNAMIC_HDR_PLUS": _HDR10_PLUS,
    "REGIONS_OF_INTEREST": REPLACED,
    "VIDEO_ENC_PARAMS": REPLACED,
    "SEI_UNREGISTERED": _USER_DATA,
    "FILM_GRAIN_PARAMS": APPLIED,  # decoders add the grain
    "DETECTION_BBOXES": REPLACED,
    "DOVI_RPU_BUFFER": _DOLBY_VISION,
    "DOVI_METADATA": _DOLBY_VISION,
    "DYNAMIC_HDR_VIVID": _VIVID,
    "AMBIENT_VIEWING_ENVIRONMENT": _SURROUND_LIGHT,
    "VIDEO_HINT": REPLACED,
    "LCEVC": _LCEVC,
    "VIEW_ID": "of a picture with several views, one is enhanced, the others are left out",
    "3D_REFERENCE_DISPLAYS": _REFERENCE_DISPLAYS,
    "EXIF": _EXIF,
    "DYNAMIC_HDR_SMPTE_2094_APP5": _DYNAMIC_HDR,
    "IAMF_MIX_GAIN_PARAM": _IAMF,
    "IAMF_DEMIXING_INFO_PARAM": _IAMF,
    "IAMF_RECON_GAIN_INFO_PARAM": _IAMF,
    "RAW_COLOR_PARAMS": "the colour parameters of a camera's raw picture are not applied",
}
"""By the names of AVFrameSideDataType."""

PACKET_FATES: Final = {
    "palette": APPLIED,
    "new_extradata": APPLIED,
    "param_change": APPLIED,
    "h263_mb_info": REPLACED,
    "replay_gain": KEPT,
    "display_matrix": APPLIED,
    "stereo_3d": _STEREO,
    "audio_service_type": KEPT,
    "quality_stats": REPLACED,
    "fallback_track": KEPT,
    "cpb_properties": REPLACED,
    "skip_samples": KEPT,
    "jp_dual_mono": KEPT,
    "strings_metadata": _TAGS,
    "subtitle_position": KEPT,
    "matroska_block_additional": _BLOCKS,
    "webvtt_identifier": KEPT,
    "webvtt_settings": KEPT,
    "metadata_update": _TAGS,
    "mpegts_stream_id": REPLACED,
    "mastering_display_metadata": KEPT,
    "spherical": _SPHERICAL,
    "content_light_level": KEPT,
    "a53_cc": _CAPTIONS,
    "encryption_init_info": _ENCRYPTED,
    "encryption_info": _ENCRYPTED,
    "afd": _BARS,
    "prft": REPLACED,
    "icc_profile": _PROFILE,
    "dovi_conf": _DOLBY_VISION,
    "s12m_timecode": _TIMECODES,
    "dynamic_hdr10_plus": _HDR10_PLUS,
    "iamf_mix_gain_param": _IAMF,
    "iamf_info_param": _IAMF,
    "iamf_recon_gain_info_param": _IAMF,
    "ambient_viewing_environment": _SURROUND_LIGHT,
    "frame_cropping": APPLIED,
    "lcevc": _LCEVC,
    "3d_reference_displays": _REFERENCE_DISPLAYS,
    "rtcp_sr": REPLACED,
    "exif": _EXIF,
    "dynamic_hdr_smpte_2094_app5": _DYNAMIC_HDR,
}
"""By PyAV's names of AVPacketSideDataType, in streams and in packets; and what FFmpeg has had since."""

GROUP_FATES: Final = {
    "iamfaudioelement": _IAMF,
    "iamfmixpresentation": _IAMF,
    "tilegrid": APPLIED,  # it is refused before
    "lcevc(splitvideoandenhancement)": _LCEVC,
    "trackreference": KEPT,
}
"""By FFmpeg's names of stream groups, in small letters."""

# FFmpeg's own names of kinds that PyAV does not know.
_NEWER_PACKETS = {"exifmetadata": "exif", "dynamichdrsmpte209450": "dynamic_hdr_smpte_2094_app5"}
_OLDER_PACKETS = {"displaymatrix": "display_matrix", "stereo3d": "stereo_3d", "smptest121:2014": "s12m_timecode"}
# What x264 and x265 say of themselves: it is about the old coding.
_ENCODERS = frozenset(
    {
        bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),
        bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"),
    }
)
_UUID_BYTES = 16
_DOVI_HEADER_BYTES = 14


class FrameLosses:
    """Collects, frame by frame, what is said of their side data."""

    def __init__(self, width: int, height: int) -> None:
        self._coded_size = (width, height)
        self._sentences: dict[str, None] = {}

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, each once."""
        return tuple(self._sentences)

    def feed(self, side_data: Iterable[tuple[str, SideData | None]]) -> None:
        """Take the side data of a frame."""
        for name, data in side_data:
            fate = FRAME_FATES.get(name, _unknown(name))
            if fate not in (KEPT, APPLIED, REPLACED) and not self._says_nothing(name, data):
                self._sentences[fate] = None

    def _says_nothing(self, name: str, data: SideData | None) -> bool:
        if data is None:
            return False
        if name == "SEI_UNREGISTERED":
            return bytes(memoryview(data)[:_UUID_BYTES]) in _ENCODERS
        if name == "PANSCAN":  # MPEG-2 has one in every frame, in sixteenths of a pixel
            _, width, height = np.frombuffer(memoryview(data), dtype=np.int32)[:3].tolist()
            return not (width and height) or (width // 16, height // 16) == self._coded_size
        return False


def stream_losses(side_data: Mapping[str, str], groups: Iterable[str], tags: Mapping[str, str]) -> Iterator[str]:
    """Say what is lost of a stream's side data and of a file's stream groups, as `described` gives them.

    Args:
        side_data: of the stream.
        groups: of the file.
        tags: of the stream. Matroska has marks of stereo 3D that FFmpeg has a tag for only.
    """
    for name, value in side_data.items():
        fate = _fate_of_packet_data(name)
        if fate == _DOLBY_VISION:
            yield f"{_DOLBY_VISION} (profile {dolby_vision_of(side_data)[0]})"
        elif fate == _STEREO:
            yield f"{_STEREO} ({value})" if value else _STEREO
        elif fate not in (KEPT, APPLIED, REPLACED):
            yield fate
    mode = {name.lower(): value for name, value in tags.items()}.get("stereo_mode", "mono")
    if mode != "mono" and "stereo3d" not in side_data:
        yield f"{_STEREO} ({mode})"
    for group in groups:
        fate = GROUP_FATES.get(plain_name(group), _unknown(group))
        if fate not in (KEPT, APPLIED, REPLACED):
            yield fate


def packet_losses(names: Iterable[str], *, has_alpha: bool) -> Iterator[str]:
    """Say what is lost of the side data of packets, by FFmpeg's names of it."""
    for name in names:
        fate = _fate_of_packet_data(plain_name(name))
        if fate not in (KEPT, APPLIED, REPLACED) and not (fate == _BLOCKS and has_alpha):
            yield fate


def dolby_vision_of(side_data: Mapping[str, str]) -> tuple[int, int]:
    """(profile, number of what the base layer is compatible with) of a stream; (0, 0) where it is no Dolby Vision."""
    text = side_data.get("doviconfigurationrecord", "")
    numbers = (re.search(rf"{name}: (\d+)", text) for name in ("profile", "compatibility id"))
    profile, compatibility = (int(found[1]) if found else 0 for found in numbers)
    return profile, compatibility


def is_profile_5(metadata: bytes) -> bool:
    """Whether AVDOVIMetadata of a frame is of profile 5: for streams without a record, such as raw HEVC.

    Byte 4 of its header is the RPU's profile, byte 10 says whether the base layer has full range: 0 and 1 only in
    profile 5.
    """
    (offset,) = struct.unpack_from("=Q", metadata)
    header = metadata[offset : offset + _DOVI_HEADER_BYTES]
    return len(header) == _DOVI_HEADER_BYTES and (header[4], header[10]) == (0, 1)


def _fate_of_packet_data(name: str) -> str:
    kind = _KINDS.get(name)
    return PACKET_FATES[kind] if kind is not None and kind in PACKET_FATES else _unknown(name)


def _unknown(name: str) -> str:
    return f"side data of a kind that is not known here ({name}) is left out"


_KINDS: Final = {
    plain_name(PacketSideData.from_packet(Packet(), kind).data_desc): kind for kind in get_args(PktSideDataT)
} | (_NEWER_PACKETS | _OLDER_PACKETS)
