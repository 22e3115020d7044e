//! Manual pages, made from the help.

use clap::{Arg, Command};
use clap_mangen::Man;

/// One page for the program and for each of its commands: the name of the file, and its text. `common` are
/// the options of all commands, which only the first page lists.
pub(super) fn pages(whole: Command, common: Vec<Arg>) -> Vec<(String, Vec<u8>)> {
    let mut whole = whole.args(common);
    whole.build();
    let mut pages = Vec::new();
    for verb in whole.get_subcommands() {
        add(verb.clone(), &mut pages);
    }
    pages.insert(0, page(whole));
    pages
}

fn add(command: Command, pages: &mut Vec<(String, Vec<u8>)>) {
    for verb in command.get_subcommands() {
        add(verb.clone(), pages);
    }
    let more = command.get_after_long_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    pages.push(page(command.after_long_help(more + "The options of all commands are in swarm(1).")));
}

fn page(command: Command) -> (String, Vec<u8>) {
    // Of an option that the short help leaves out, the pages would only have the longer text.
    let command = command.mut_args(|arg| arg.hide_short_help(false));
    let man = Man::new(command).source(concat!("swarm ", env!("CARGO_PKG_VERSION"))).manual("swarm");
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render(&mut text);
    (man.get_filename(), text)
}
