"""`python -m dyngen_agents.cli` is the command `dyngen`."""

import sys

from dyngen_agents.cli.main import main

sys.exit(main())
