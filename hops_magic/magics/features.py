"""``%features`` saves, finds, joins and explains features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from hops_magic.magics.commands import run_line

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session


@magics_class
class FeaturesMagics(Magics):
    """The magic of the feature store."""

    def __init__(self, shell: InteractiveShell | None, session: Session) -> None:
        super().__init__(shell)
        self._session = session

    # braces and dollars on the line belong to regular expressions and SQL
    @no_var_expand
    @line_magic
    def features(self, line: str) -> Any:
        """List feature groups; ``%features -h`` tells the other commands."""
        # the store's libraries load when it is first used
        from hops_magic.features.python_words import for_a_line
        from hops_magic.magics.feature_datasets import DatasetCommands
        from hops_magic.magics.feature_reading import Reading
        from hops_magic.magics.feature_writing import Writing

        reading = Reading(self.shell, self._session)
        writing, datasets = Writing(self.shell, self._session, line), DatasetCommands(self.shell, self._session)
        commands = {**reading.commands, **writing.commands, **datasets.commands}
        with for_a_line():
            return run_line("%features", line, commands, reading.groups)
