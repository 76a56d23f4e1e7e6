"""Feedback as data sets of other tools, and back: TRL's formats as JSON lines or parquet, comparisons of OpenAI's form.

Every row that is exported has the columns that TRL documents, a few that people sort by, and `record`: a JSON text from
which `import_rows` restores the dialogues, turns and feedback that it came from, every field of them.
"""

from dyngen_agents.feedback.exchange.files import read_rows, write_rows
from dyngen_agents.feedback.exchange.formats import FORMATS, Exported, export_rows
from dyngen_agents.feedback.exchange.importing import Imported, import_rows

__all__ = ["FORMATS", "Exported", "Imported", "export_rows", "import_rows", "read_rows", "write_rows"]
