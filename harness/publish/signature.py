"""An optional signature of a bundle's manifest by an SSH key, with the program that everybody has for it.

`ssh-keygen -Y` is part of OpenSSH since 8.1: it takes keys of all kinds, asks for passphrases itself, and uses agents
and hardware keys. What it writes is described in OpenSSH's PROTOCOL.sshsig.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.errors import UserError
from harness.publish.border import read_bytes

NAMESPACE = "adversarial-harness-bundle"
"""A signature that the key made for something else is none of a bundle."""

SIGNER = "publisher"
KINDS = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-")
SECONDS = 120
"""Time to type a passphrase, or to touch a hardware key."""


def sign(path: Path, key: Path) -> None:
    """Writes `PATH.sig`. key: a private key, or a public one whose private half an agent holds. Raises: UserError."""
    done = _run(["-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), str(path)])
    if done.returncode or not path.with_name(f"{path.name}.sig").is_file():
        raise UserError(f"{key}: did not sign ({_said(done)}); name an SSH key, as ssh-keygen makes it")


def signature_fault(path: Path, signature: Path, signer: Path) -> str | None:
    """Why `signature` is not that of `signer` (a file with public keys) for `path`; None where it is.

    Raises: UserError where there is no public key in `signer`.
    """
    keys = public_keys(signer)
    with tempfile.TemporaryDirectory() as folder:
        allowed = Path(folder, "allowed_signers")
        allowed.write_text("".join(f'{SIGNER} namespaces="{NAMESPACE}" {key}\n' for key in keys))
        options = ["-Y", "verify", "-f", str(allowed), "-I", SIGNER, "-n", NAMESPACE, "-s", str(signature)]
        done = _run(options, read_bytes(path))
    return None if done.returncode == 0 else f"the signature is not {signer.name}'s ({_said(done)})"


def public_keys(path: Path) -> list[str]:
    """The keys of a `.pub` file, one a line: kind and key, without options and comments. Raises: UserError."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the public key cannot be read ({error}); name the .pub file of the signer") from None
    keys = [" ".join(words[:2]) for words in lines if len(words) > 1 and words[0].startswith(KINDS)]
    if not keys:
        raise UserError(f"{path}: holds no public SSH key; name the .pub file of the signer")
    return keys


def _run(arguments: list[str], data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Without `data` it may ask at the terminal."""
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UserError("ssh-keygen: is not installed, and signatures need it; install OpenSSH")
    try:
        return subprocess.run([program, *arguments], input=data, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"ssh-keygen: did not end in {SECONDS} seconds; give it the passphrase, or use an agent"
        ) from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
