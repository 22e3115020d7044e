use super::*;
use crate::settings::Level;
use crate::size::Rate;

/// Lines and columns of the smallest terminal that is usual.
const SCREEN: (usize, usize) = (24, 80);

fn read(line: &str) -> Parsed {
    parse(std::iter::once("swarm").chain(line.split_whitespace()).map(OsString::from)).expect(line)
}

fn refused(line: &str) -> NotParsed {
    parse(std::iter::once("swarm").chain(line.split_whitespace()).map(OsString::from)).expect_err(line)
}

#[test]
fn the_command_is_well_formed() {
    command().debug_assert();
}

#[test]
fn flags_work_before_and_after_the_verb_and_add_up() {
    let parsed =
        read("--home /a --peer /p/1 -v --limit-up 1M get --peer /p/2 --home /b -vv -q x --peer /p/3");
    let Layer { home, peer, verbose, limit_up, quiet, json, .. } = parsed.flags;
    assert_eq!(home, Some("/b".into()));
    assert_eq!(peer, Some(vec!["/p/1".to_owned(), "/p/2".to_owned(), "/p/3".to_owned()]));
    assert_eq!((verbose, limit_up), (Some(3), Some(Rate(Some(1 << 20)))));
    assert_eq!((quiet, json), (Some(true), None));
    let both =
        read("--no-mdns --site a --log-level info --background ls --site b --log-level trace --no-dht").flags;
    assert_eq!((both.site.as_deref(), both.log_level), (Some("b"), Some(Level::Trace)));
    assert_eq!(
        (both.no_mdns, both.no_dht, both.background, both.upnp),
        (Some(true), Some(true), Some(true), None)
    );
    assert_eq!(read("config show --limit-down none").flags.limit_down, Some(Rate(None)));
    assert_eq!(read("ls").flags, Layer::default());
    assert_eq!(read("--listen /a,/b status").flags.listen, Some(vec!["/a".to_owned(), "/b".to_owned()]));
    assert_eq!(read("--log-level debug ls").flags.log_level, Some(Level::Debug));
}

#[test]
fn reads_the_documented_lines() {
    for line in [
        "publish update.bin --name N --copy --link --unix-names --symlinks",
        "publish -",
        "allow x anyone",
        "allow x default",
        "publish x --serve nobody",
        "publish x --encrypt",
        "publish x --password --password-file secret",
        "get - --password-file secret",
        "hold swarm:x --blind --timeout 5m --public",
        "office",
        "office init Acme --as hq --password-file secret",
        "office invite --role publisher --uses 5 --expires 1d --file code",
        "office join code --as desk",
        "office expel desk --registrar",
        "office restore --backup paper",
        "office members --office Acme",
        "publish x --office Acme --to desk --to laptop",
        "publish x --public",
        "get swarm:x -o out --overwrite --seed --timeout 1h30m --include *.rs --include a/{b,c} --exclude *.o",
        "download x",
        "recv x y z -o folder",
        "cat x --timeout 5m",
        "ls",
        "ls x",
        "info x",
        "rm x",
        "verify",
        "verify x --repair",
        "gc --dry-run",
        "status --json",
        "peers",
        "daemon --no-mdns --max-store 20G --read-only --no-progress",
        "demo",
        "demo file",
        "config show --origin",
        "completions bash",
        "help",
        "help exit-codes",
        "help office invite",
        "man /tmp/x",
    ] {
        read(line);
    }
    let Verb::Get(get) = read("get x -o - --include a/{b,c}").verb else { panic!("not get") };
    assert!(get.to_stdout());
    assert_eq!(get.include, ["a/{b,c}"]);
    assert!(read("cat x").verb.writes_content() && !read("ls x").verb.writes_content());
}

#[test]
fn refuses_the_rest() {
    for line in [
        "",
        "frobnicate",
        "get",
        "publish",
        "publish a b",
        "allow x everybody",
        "ls --serve all",
        "publish a --password=b",
        "get x --timeout soon",
        "ls --limit-up 5Mb",
        "ls --max-store 5Mbit",
        "gc --dry-run=maybe",
        "config",
        "completions tcsh9",
        "--log-level loud ls",
    ] {
        let refused = refused(line);
        assert!(!refused.wanted && !refused.text[0].is_empty(), "{line}");
    }
    assert!(refused("--json frobnicate").json && !refused("frobnicate").json);
    for line in ["--help", "--version", "get --help"] {
        assert!(refused(line).wanted, "{line}");
    }
}

#[test]
fn every_flag_has_its_variable() {
    fn check(command: &Command) {
        for arg in command.get_arguments() {
            // The variable of that name has the password itself.
            let without = ["help", "version", "password"];
            let Some(long) = arg.get_long().filter(|long| !without.contains(long)) else {
                continue;
            };
            let want = format!("SWARM_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(want.as_str()), "--{long}");
            assert!(arg.get_help().is_some(), "--{long}");
        }
        assert!(command.get_about().is_some_and(|about| !about.to_string().contains("See [")), "{command}");
        command.get_subcommands().for_each(check);
    }
    check(&command());
}

#[test]
fn helps_with_every_command() {
    let help = |topic: &str| help(&topic.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    for topic in ["publish", "get", "download", "config", "help", "office invite"] {
        assert!(help(topic).is_some(), "{topic}");
    }
    assert!(help("").is_some_and(|[text, _]| text.contains("exit-codes") && text.contains("--limit-up")));
    assert!(help("get").is_some_and(|[text, _]| text.contains("Examples:") && text.contains("--limit-up")));
    assert!(help("frobnicate").is_none() && help("get frobnicate").is_none());
    assert!(!completions(Shell::Bash).is_empty());
}

#[test]
fn every_verb_is_in_exactly_one_group() {
    let mut listed: Vec<&str> = groups::GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
    listed.sort_unstable();
    let whole = command();
    let mut verbs: Vec<&str> = whole.get_subcommands().map(Command::get_name).collect();
    verbs.sort_unstable();
    assert_eq!(listed, verbs);
    let text = groups::grouped(command()).render_help().to_string();
    for verb in whole.get_subcommands() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let line = format!("  {:<11}  {about}", verb.get_name());
        assert_eq!(text.lines().filter(|shown| *shown == line).count(), 1, "{line}: {text}");
        assert!(line.len() <= SCREEN.1, "{line}");
    }
}

#[test]
fn short_help_fits_on_a_screen() {
    fn check(command: &mut Command) {
        let text = command.clone().term_width(SCREEN.1).render_help().to_string();
        let fits =
            text.lines().count() <= SCREEN.0 && text.lines().all(|line| line.chars().count() <= SCREEN.1);
        assert!(fits, "{} lines: {text}", text.lines().count());
        let long = command.render_long_help().to_string();
        assert!(long.lines().count() > text.lines().count() && long.contains("--limit-up"), "{long}");
        command.get_subcommands_mut().for_each(check);
    }
    let mut whole = groups::grouped(command());
    whole.build();
    whole.get_subcommands_mut().for_each(check);
    let text = whole.render_help().to_string();
    assert!(text.lines().count() <= 2 * SCREEN.0 && !text.contains("--limit-up"), "{text}");
}

#[test]
fn every_command_has_a_manual_page() {
    let pages = manual();
    let text = |name: &str| {
        let page = pages.iter().find(|(file, _)| file == name).expect(name);
        String::from_utf8(page.1.clone()).expect("UTF-8")
    };
    assert!(text("swarm.1").contains("limit\\-up"), "{}", text("swarm.1"));
    assert!(text("swarm-office-invite.1").contains("expires") && text("swarm-get.1").contains("Examples"));
    assert!(!text("swarm-get.1").contains("limit\\-up"));
    for (name, page) in &pages {
        let page = String::from_utf8_lossy(page);
        assert!(!page.contains("\n\n.TP"), "{name}: an option without a text: {page}");
    }
    fn count(command: &Command) -> usize {
        1 + command.get_subcommands().map(count).sum::<usize>()
    }
    assert_eq!(pages.len(), count(&command()));
}
