"""Every reported defect."""

from strangers.reports_1 import FIRST
from strangers.reports_2 import SECOND
from strangers.reports_3 import THIRD

REPORTS = (*FIRST, *SECOND, *THIRD)
