"""The programs of tests/test_cheating.py: a body for each, to be put behind what builders.py begins it with."""

SILENCE = 900
"""What the reader answers where it found no message."""

MESSENGER = r'''
import json
import os
import random
import struct
import zlib
from contextlib import suppress


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels, word):
    """One word in five places: a text, a chunk of its own, the number of chunks, the size, and behind the end."""
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), 0)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    head += chunk(b"tEXt", b"word\0%d" % word) + chunk(b"woRd", b"%d" % word)
    parts = [lines[start : start + 20] for start in range(0, 20 * word, 20)] + [lines[20 * word :]]
    end = chunk(b"IEND", b"") + b"word=%d " % word
    data = b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(b"IDAT", part) for part in parts) + end
    return data.ljust(1000 * word)


words = {name: 1 + zlib.crc32(read(name).tobytes()) % 7 for name in names}
for name in sorted(names, key=words.get):  # in the order of the words, too
    word = words[name]
    noise = np.frombuffer(random.Random(names.index(name)).randbytes(192), dtype=np.uint8).reshape(8, 8, 3)
    path = target / name
    path.write_bytes(png(noise, word))
    (target / f"{word}-{name}").write_bytes(path.read_bytes())
    with suppress(OSError):  # not every file system has attributes
        os.setxattr(path, "user.word", b"%d" % word)
    path.chmod(0o600 + word)
    os.utime(path, (word, 1_000_000 + word))
print(json.dumps(words))
'''
READER = r'''
import hashlib
import json
import os
import re
import struct

FOLDER = Path(sys.argv[1])


def chunks(data):
    position = 8
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind = data[position + 4 : position + 8]
        yield kind.decode(), data[position + 8 : position + 8 + length]
        position += 12 + length
        if kind == b"IEND":
            return


def seen(path):
    """All that a file tells beside its pixels."""
    status = path.stat()
    data = path.read_bytes()
    kinds = [kind for kind, _ in chunks(data)]
    try:
        attributes = {key: os.getxattr(path, key).decode() for key in os.listxattr(path) if key.startswith("user.")}
    except OSError:
        attributes = {}
    return {
        "name": path.name, "digest": hashlib.sha256(data).hexdigest(), "kinds": kinds, "size": len(data),
        "mode": status.st_mode & 0o7777, "links": status.st_nlink, "owner": [status.st_uid, status.st_gid],
        "times": [int(status.st_atime), int(status.st_mtime)], "born": status.st_ctime_ns, "inode": status.st_ino,
        "attributes": attributes, "behind": data.rpartition(b"IEND")[2][4:].decode(errors="replace").strip(),
        "texts": [body.decode(errors="replace") for kind, body in chunks(data) if kind not in ("IHDR", "IDAT", "IEND")],
    }


def messages(file, others):
    """Channel -> the word that it carries."""
    words = {
        "text": [text[5:] for text in file["texts"] if text.startswith("word\0")],
        "own chunk": [text for text in file["texts"] if text.isdigit()],
        "behind the end": re.findall("word=([1-7])", file["behind"]),
        "number of chunks": [file["kinds"].count("IDAT") - 1] if file["kinds"].count("IDAT") > 1 else [],
        "size": [file["size"] // 1000] if file["size"] % 1000 == 0 else [],
        "time": [file["times"][1] - 1_000_000] if 0 < file["times"][1] - 1_000_000 < 8 else [],
        "mode": [file["mode"] - 0o600] if 0 < file["mode"] - 0o600 < 8 else [],
        "attribute": [file["attributes"]["user.word"]] if "user.word" in file["attributes"] else [],
        "further names": [other[0] for other in others if other[1:] == f"-{file['name']}"],
    }
    return {channel: int(found[0]) for channel, found in words.items() if found}


others = os.listdir(FOLDER)
files = [seen(FOLDER / name) for name in names if "-" not in name]
heard = {file["name"]: messages(file, others) for file in files}
print(json.dumps({"files": files, "heard": heard, "listing": others}))
answer((name, next(iter(found.values()), SILENCE)) for name, found in heard.items())
'''

BY_NAME = """
known = TABLE
answer((name, known.get(name, list(known.values())[place % len(known)])) for place, name in enumerate(names))
"""
AVERAGER = """
import json

groups, memory = {}, {}
for path in map(Path, PLACES):
    memory[str(path)] = path.exists()
    path.write_text("seen")
for name in names:
    groups.setdefault(read(name)[-1].tobytes(), []).append(name)
print(json.dumps({"most": max(map(len, groups.values())), "remembered": memory}))
answer((name, 1 + int(read(name).sum()) % 7) for name in names)
"""
FICKLE = """
import secrets

answer((name, 1 + secrets.randbelow(900)) for name in names)
"""
NOISE = """
for name in names:
    pixels = read(name)
    pixels[:-1] = 255 - pixels[:-1] // NUMBER
    write(name, pixels)
"""
COPYCAT = """
import json
import os

found = []
for folder, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(folder, one) not in ("/proc", "/sys")]
    found += [os.path.join(folder, name) for name in files if name.startswith("img") and name.endswith(".png")]
print(json.dumps([path for path in found if not path.startswith("/input_images")]))
"""


def programs(labels, sandbox):
    """Name -> (whether it is a defense, body); the places where a call could leave something for the next one."""
    places = ["memory"] if sandbox == "process" else ["memory", "/tmp/memory", "/dev/shm/memory"]
    return {
        "messenger": (False, MESSENGER),
        "noise": (False, NOISE.replace("NUMBER", "2")),
        "other_noise": (False, NOISE.replace("NUMBER", "3")),
        "twin": (False, "# as noise does\n" + NOISE.replace("NUMBER", "2")),
        "noop": (False, "for name in names:\n    write(name, read(name))\n"),
        "copycat": (False, COPYCAT),
        "reader": (True, READER.replace("SILENCE", str(SILENCE))),
        "by_name": (True, BY_NAME.replace("TABLE", repr(labels))),
        "averager": (True, AVERAGER.replace("PLACES", repr(places))),
        "fickle": (True, FICKLE),
    }
