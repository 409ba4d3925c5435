"""A progress bar for `fit`."""

import keras


class RichProgress(keras.callbacks.Callback):
    """Shows one bar for the whole of `fit`, with the latest losses and metrics.

    Use as `with RichProgress(...) as bar: model.fit(..., verbose=0, callbacks=[bar])`: the
    terminal is given back also after Ctrl-C or an error. Where the output is no terminal it
    prints a line an epoch instead.

    Args:
        title: What stands in front of the bar.
        show: Names of the logged values to show, in order.
        console: Optional `rich.console.Console`.
    """

    def __init__(self, title, show=("loss", "val_loss"), console=None):
        super().__init__()
        from rich import console as rich_console
        from rich import progress

        self.title = title
        self.show = tuple(show)
        self.console = console or rich_console.Console()
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[values]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._latest = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._bar.stop()

    def on_train_begin(self, logs=None):
        del logs
        total = (self.params.get("steps") or 0) * self.params["epochs"] or None
        self._task = self._bar.add_task(self.title, total=total, values="")
        self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        self._bar.advance(self._task)

    def on_epoch_end(self, epoch, logs=None):
        self._latest.update(logs or {})
        values = "  ".join(
            f"{name} {self._latest[name]:.3f}" for name in self.show if name in self._latest
        )
        self._bar.update(self._task, values=values)
        if not self.console.is_terminal:
            self.console.print(f"{self.title}  epoch {epoch + 1}/{self.params['epochs']}  {values}")
