"""What can be wrong: each trouble once, with its words, its alert and its condition on our own state."""

from qmp_exporter.core.current_troubles import Rows
from qmp_exporter.core.trouble import OverVms

from . import disk, exporter, guest, image, job, machine

OF_VMS = (*machine.TROUBLES, *disk.TROUBLES, *image.TROUBLES, *job.TROUBLES, *guest.TROUBLES)
OF_THE_EXPORTER = exporter.TROUBLES
TROUBLES = (*OF_VMS, *OF_THE_EXPORTER)
OVER_VMS = tuple((one, one.when) for one in OF_VMS if isinstance(one.when, OverVms))
ROWS_OF_A_VM = Rows(OF_VMS, (when for _, when in OVER_VMS))
ROWS_OF_THE_EXPORTER = Rows(OF_THE_EXPORTER)
