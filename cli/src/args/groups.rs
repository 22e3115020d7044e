//! The verbs in groups, as the help of the whole program lists them. clap has no groups of subcommands: they
//! are a template here, with the texts of the verbs.

use clap::Command;

/// Headings, and the verbs below each.
pub(super) const GROUPS: [(&str, &[&str]); 7] = [
    ("Share", &["publish", "hold", "allow"]),
    ("Fetch", &["get", "cat", "stop"]),
    ("Store", &["ls", "info", "verify", "rm", "gc"]),
    ("Network", &["why", "peers"]),
    ("Office", &["office"]),
    ("Node", &["daemon", "status", "config"]),
    ("Help", &["help", "demo", "completions", "man"]),
];

/// The command with the verbs in groups in its help.
pub(super) fn grouped(command: Command) -> Command {
    let styles = command.get_styles().clone();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (group, verbs) in GROUPS {
        template.push_str(&format!("\n{header}{group}:{header:#}\n"));
        for verb in verbs {
            let about = command.find_subcommand(verb).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            template.push_str(&format!("  {literal}{verb:<11}{literal:#}  {about}\n"));
        }
    }
    template.push_str("\n{all-args}{after-help}");
    // The list that clap makes itself would come a second time.
    let command = command.mut_subcommands(|verb| verb.hide(true));
    command.override_usage("swarm [OPTIONS] <COMMAND>").help_template(template)
}
