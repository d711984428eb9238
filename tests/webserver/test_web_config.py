"""Web configuration files → rules that can be kept, or the very sentences that say why not; promtool agrees."""

import platform
import ssl
import subprocess
from pathlib import Path

import bcrypt
import pytest

from certificates import Authority
from parts import need
from qmp_exporter.config import ConfigError
from qmp_exporter.webserver.access_control import rules
from qmp_exporter.webserver.settings import RateLimit
from qmp_exporter.webserver.web_config import HEADERS, load

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "web_configs"
GOOD = sorted(FILES.glob("good-*.yml"))
X25519 = FILES / "python-curve-X25519.yml"  # not every Python can set this curve: that of Debian 12 cannot
NEWER = sorted(FILES.glob("newer-*.yml"))  # Debian 12's promtool does not know all their keys yet


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """The files, and the certificates that they name."""
    directory = tmp_path_factory.mktemp("web")
    authority = Authority("test")
    (directory / "ca.pem").write_bytes("# Zertifizierungsstelle für Tests\n".encode() + authority.cert)
    pair = authority.issue("localhost")
    pair.write(directory, "server")
    authority.issue("localhost").write(directory, "other")
    for file in FILES.iterdir():
        text = file.read_text()
        for placeholder, pem in (("CERT\n", pair.cert), ("KEY\n", pair.key)):
            text = text.replace(f"    {placeholder}", "".join(f"    {line}\n" for line in pem.decode().splitlines()))
        (directory / file.name).write_text(text)
    return directory


@pytest.fixture
def in_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)


@pytest.mark.parametrize("path", [*GOOD, *NEWER], ids=lambda path: path.stem)
def test_a_good_file_is_accepted(directory: Path, path: Path):
    read = rules(directory / path.name)
    assert (read.context is not None) == (read.config.tls is not None)


def python_can_set(curve: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve(curve)
    except (ssl.SSLError, ValueError):
        return False
    return True


@pytest.mark.usefixtures("in_directory")
def test_a_curve_is_accepted_or_it_is_said_that_this_python_cannot_set_it_and_what_can():
    if python_can_set("X25519"):
        read = rules(Path(X25519.name))
        assert read.config.tls is not None
        assert read.config.tls.curve == "X25519"
        return
    with pytest.raises(ConfigError) as caught:
        rules(Path(X25519.name))
    (error,) = caught.value.errors
    assert error == (
        f"{X25519.name}:1:85: tls_server_config.curve_preferences: "
        'found "X25519", wanted CurveP256 or CurveP384 or CurveP521: '
        f"Python {platform.python_version()} cannot set it; OpenSSL's own configuration can, as docs/web.md shows"
    )


@pytest.mark.parametrize("path", sorted(FILES.glob("bad-*.yml")), ids=lambda path: path.stem)
@pytest.mark.usefixtures("in_directory")
def test_a_bad_file_is_refused_with_exactly_the_errors_in_its_leading_comments(path: Path):
    text = path.read_text()
    expected = [line.removeprefix("# error: ") for line in text.split("\n") if line.startswith("# error: ")]
    with pytest.raises(ConfigError) as caught:
        rules(Path(path.name))
    assert list(caught.value.errors) == expected


@pytest.mark.parametrize("path", [*GOOD, *NEWER, X25519], ids=lambda path: path.stem)
def test_promtool_accepts_what_we_accept(directory: Path, path: Path):
    done = subprocess.run(
        [need("promtool"), "check", "web-config", directory / path.name], capture_output=True, text=True, check=False
    )
    unknown = [line for line in done.stderr.splitlines() if "not found in type" in line]
    if path not in NEWER or not unknown:
        assert done.returncode == 0, done.stderr


def test_the_example_is_good_and_promtool_agrees(directory: Path):
    example = directory / "example"
    example.mkdir()
    (example / "prometheus-ca.crt").write_bytes((directory / "ca.pem").read_bytes())
    for kind, name in (("crt", "server.pem"), ("key", "server.key")):
        (example / f"exporter.{kind}").write_bytes((directory / name).read_bytes())
    (example / "web-config.yml").write_bytes((ROOT / "deploy" / "web-config.example.yml").read_bytes())
    read = rules(example / "web-config.yml")
    assert bcrypt.checkpw(b"change-me", read.config.users["prometheus"])
    subprocess.run([need("promtool"), "check", "web-config", example / "web-config.yml"], check=True)


def test_a_mistake_never_shows_a_secret():
    for file in FILES.glob("bad-secrets.yml"):
        with pytest.raises(ConfigError) as caught:
            load(file)
        assert not {"hunter2", "123456"} & set(str(caught.value).replace('"', " ").split())


def test_a_configuration_does_not_show_its_secrets_either(directory: Path):
    shown = repr(load(directory / "good-everything-old.yml"))
    assert "PRIVATE KEY" not in shown
    assert "$2y$" not in shown


def test_files_are_looked_for_beside_the_configuration(directory: Path):
    config = load(directory / "good-minimal.yml")
    assert config.files == tuple(directory / name for name in ("good-minimal.yml", "server.pem", "server.key"))


def test_everything_said_in_the_file_arrives(directory: Path):
    config = load(directory / "newer-sans-and-rate.yml")
    assert config.rate_limit == RateLimit(1.5, 20)
    assert config.tls is not None
    assert config.tls.client_sans == {"prometheus.example.org", "spiffe://example.org/prometheus", "::1"}
    config = load(directory / "good-everything-old.yml")
    assert config.headers.keys() == HEADERS.keys()
    assert config.users.keys() == {"prometheus", ""}
    assert config.http2
    assert config.tls is not None
    assert config.tls.ciphers == ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA")
    assert config.tls.curve == "prime256v1"
    assert load(directory / "newer-rate-limit-off.yml").rate_limit is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"web.yml: cannot be read: No such file or directory"):
        load(tmp_path / "web.yml")
