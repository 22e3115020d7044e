//! `swarm help`.

use crate::args;
use crate::exit::{Code, Failed, Outcome, codes_help};
use crate::ui::Ui;

/// Explains a command, or the exit codes.
pub(super) fn run(ui: &Ui, topic: &[String]) -> Outcome {
    if topic.len() == 1 && topic[0] == "exit-codes" {
        return ui.raw(codes_help().as_bytes());
    }
    let text = args::help(topic).ok_or_else(|| {
        let message = format!("no help on {}: not a command, and not exit-codes", topic.join(" "));
        Failed::new(Code::Usage, message).hint("swarm help")
    })?;
    ui.text(&text)
}
