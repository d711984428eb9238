"""A YAML file with what a site wants otherwise -> settings for the alert rules, or every mistake with its line."""

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from qmp_exporter.catalog.troubles import TROUBLES
from qmp_exporter.documents.check import checked
from qmp_exporter.documents.document import ConfigError, read
from qmp_exporter.documents.duration import between
from qmp_exporter.documents.file import lines, text_of

BY_NAME: Final = MappingProxyType({trouble.name: trouble for trouble in TROUBLES})


def _alert(name: str) -> str:
    if name not in BY_NAME:
        raise ValueError("wanted the name of an alert")
    return name


def _with_threshold(name: str) -> str:
    if BY_NAME[_alert(name)].threshold is None:
        known = ", ".join(trouble.name for trouble in TROUBLES if trouble.threshold is not None)
        raise ValueError(f"this alert has no threshold; those that have one are {known}")
    return name


def _number(value: object) -> float:
    """YAML gives no numbers here, for a name may look like one."""
    try:
        number = float(str(value))
    except ValueError:
        raise ValueError("wanted a number") from None
    if not 0 < number < 1e12:
        raise ValueError("wanted a number above 0")
    return number


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError('wanted an address that begins with "https://", with {alert} for the name of the alert')
    return text


Alert = Annotated[str, AfterValidator(_alert)]
Duration = Annotated[float, BeforeValidator(between("0s", "240h", "5m"))]


class Settings(BaseModel):
    """What may differ from site to site."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: Annotated[str, Field(description="the job that scrapes the exporters")] = "qmp-exporter"
    selector: Annotated[str, Field(description="label matchers that every series must have")] = ""
    runbook_url: Annotated[
        Annotated[str, AfterValidator(_url)], Field(description="where the runbooks are, with {alert} for the name")
    ] = "http://{{ $labels.instance }}/-/runbooks/{alert}"
    severities: Annotated[
        dict[Alert, Literal["critical", "warning", "info"]], Field(description="another severity for an alert")
    ] = {}
    thresholds: Annotated[
        dict[Annotated[str, AfterValidator(_with_threshold)], Annotated[float, BeforeValidator(_number)]],
        Field(description="another threshold for an alert"),
    ] = {}
    wait: Annotated[dict[Alert, Duration], Field(description="how long an alert waits before it fires")] = {}
    disable: Annotated[list[Alert], Field(description="alerts that are left out")] = []


def load(path: Path) -> Settings:
    """:raise ConfigError: with every mistake."""
    return parse(text_of(path), str(path))


def parse(text: str, source: str) -> Settings:
    document = read(text, source, 'wanted at least "{}"')
    settings = checked(Settings, document)
    if settings is None or document.wrongs:
        raise ConfigError(lines(source, document.wrongs))
    return settings
