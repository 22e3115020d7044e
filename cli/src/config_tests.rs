use super::*;
use crate::settings::{Level, Set};
use crate::size::{Rate, Size};

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("writes");
    path
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn refused(text: &str) -> String {
    let folder = folder();
    read_file(&file(folder.path(), "config.toml", text)).expect_err("refused").message
}

#[test]
fn later_layers_win_and_say_so() {
    let folder = folder();
    let all = "limit-up = \"1M\"\nlimit-down = \"1M\"\nmax-store = \"1M\"\nno-mdns = true";
    let system = file(folder.path(), "system.toml", all);
    let user =
        file(folder.path(), "user.toml", "limit-up = \"2M\"\nlimit-down = 2097152\nmax-store = \"2M\"");
    let environment =
        Layer { limit_up: Some(Rate(Some(3))), limit_down: Some(Rate(Some(3))), ..Layer::default() };
    let flags = Layer { limit_up: Some(Rate(None)), ..Layer::default() };
    let files = [system.clone(), folder.path().join("missing.toml"), user.clone()];
    let home = Some(PathBuf::from("/home/x/.local/share/swarm"));
    let settings = stack(home, files.into_iter(), environment, flags).expect("fits");
    assert_eq!(settings.limit_up, Set { value: Rate(None), origin: Origin::Flag });
    assert_eq!(settings.limit_down, Set { value: Rate(Some(3)), origin: Origin::Environment });
    assert_eq!(settings.max_store, Set { value: Size(Some(2 << 20)), origin: Origin::File(user) });
    assert_eq!(settings.no_mdns, Set { value: true, origin: Origin::File(system) });
    assert_eq!(settings.read_only, Set { value: false, origin: Origin::Default });
    let options = settings.options();
    assert_eq!((options.limit_up, options.limit_down, options.max_store), (None, Some(3), Some(2 << 20)));
    assert!(!options.mdns && !options.offline && settings.offline().offline);
    assert_eq!(options.home, Path::new("/home/x/.local/share/swarm"));
}

#[test]
fn every_setting_is_shown_and_read_back() {
    let mut settings = Settings::defaults();
    settings.home.value = "/a \"b\"\n\u{1b}\\c".into();
    settings.listen.value = vec!["/ip4/0.0.0.0/tcp/4001".into(), "/ip4/0.0.0.0/udp/4001/quic-v1".into()];
    settings.limit_up.value = Rate(Some(5_000_000));
    settings.max_store.value = Size(Some(20 << 30));
    settings.schedule.value = "mon-fri 08:00-18:00 up=1M; else unlimited".parse().expect("a schedule");
    settings.background.value = true;
    settings.log_level.value = Level::Debug;
    let list = settings.list();
    let text: String = list.iter().map(|shown| shown.toml() + "\n").collect();
    assert!(text.contains("max-store = \"20GiB\"\n"), "{text}");
    let folder = folder();
    let layer = read_file(&file(folder.path(), "config.toml", &text)).expect(&text).expect("there");
    let mut again = Settings::defaults();
    again.put(layer, &Origin::Default);
    assert_eq!(again, settings);
}

#[test]
fn mistakes_name_file_line_and_key() {
    let unknown = refused("# mine\nlimit_up = \"5M\"\n");
    assert!(unknown.contains("config.toml, line 2, key `limit_up`: unknown field"), "{unknown}");
    assert!(unknown.contains("limit-up"), "{unknown}");
    let value = refused("no-mdns = true\nlimit-up = \"5 parsecs\"");
    assert!(value.contains("line 2, key `limit-up`: unknown unit `parsecs`"), "{value}");
    assert!(refused("no-mdns = \"yes\"").contains("line 1, key `no-mdns`"));
    assert!(refused("log-level = \"loud\"").contains("key `log-level`: unknown variant `loud`"));
    assert!(refused("peer = \"/ip4/127.0.0.1/tcp/1\"").contains("key `peer`"));
    assert!(refused("limit-up = 1.5").contains("20M"));
    let broken = refused("home = \"/x\"\nwhat is this\n");
    assert!(broken.contains("line 2") && !broken.contains('\n'), "{broken}");
}

#[test]
fn wrong_addresses_are_named_in_every_layer() {
    let file = refused("no-mdns = true\npeer = [\n  \"10.0.0.1\",\n  \"/ip4/x/tcp/1\"]\n");
    assert!(file.contains("config.toml, line 4, key `peer`: `/ip4/x/tcp/1` has no IPv4"), "{file}");
    assert!(refused(&format!("site = \"{}\"", "s".repeat(300))).contains("line 1, key `site`"));
    let bad = || Layer { tracker: Some(vec!["a b".to_owned()]), ..Layer::default() };
    let none = std::iter::empty;
    let by_variable = stack(None, none(), bad(), Layer::default()).expect_err("refused");
    assert!(by_variable.message.starts_with("environment variable SWARM_TRACKER: `a b`"), "{by_variable:?}");
    let by_flag = stack(None, none(), Layer::default(), bad()).expect_err("refused");
    assert!(by_flag.message.starts_with("--tracker `a b` is not an address; write "), "{by_flag:?}");
    assert_eq!((by_variable.code, by_flag.code), (Code::User, Code::User));
}

#[test]
fn paths_in_a_file_start_at_the_file() {
    let folder = folder();
    let home = |text| read_file(&file(folder.path(), "c.toml", text)).expect("fits").expect("there").home;
    assert_eq!(home("home = \"store\""), Some(folder.path().join("store")));
    assert_eq!(home("home = \"/store\""), Some("/store".into()));
    assert_eq!(home("\u{feff}home = \"/store\""), Some("/store".into()));
    assert_eq!(home("home = \"~/store\""), etcetera::home_dir().ok().map(|home| home.join("store")));
}
