//! `swarm completions`.

use crate::args;
use crate::exit::Outcome;
use crate::ui::Ui;

/// Prints the script for a shell.
pub(super) fn run(ui: &Ui, shell: args::Shell) -> Outcome {
    ui.raw(&args::completions(shell))
}
