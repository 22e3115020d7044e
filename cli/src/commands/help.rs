//! `swarm help`.

use crate::args;
use crate::exit::{Code, Failed, Outcome, codes_help};
use crate::ui::Ui;

/// Explains a command, or the exit codes.
pub(super) fn run(ui: &Ui, topic: Option<&str>) -> Outcome {
    if topic == Some("exit-codes") {
        return ui.raw(codes_help().as_bytes());
    }
    let text = args::help(topic).ok_or_else(|| {
        let topic = topic.unwrap_or_default();
        Failed::new(
            Code::Usage,
            format!("there is no help on {topic}: it is neither a command nor exit-codes"),
        )
        .hint("swarm help")
    })?;
    ui.text(&text)
}
