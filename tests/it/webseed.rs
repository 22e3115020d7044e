//! Web seeds: a web server as the holder of last resort.

mod scripted;

use std::time::Duration;

use scripted::Scripted;

use swarm_tests::fixture::{Home, Internet, MIB, Nginx, PATIENCE, Process, Seeder, Site, b3, wait_until};

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// A publisher that soon ends, its file on a web server, and sixteen nodes of one site: the server sends
/// about one copy.
#[allow(clippy::print_stdout)] // The figure is in cli/docs/reaching.md.
#[test]
fn a_web_server_sends_the_first_copy_and_little_more() {
    let net = Internet::new(&[Site::public(2), Site::routed(16)]);
    let (publisher, homes): (Home, Vec<Home>) = (Home::new(), (0..16).map(|_| Home::new()).collect());
    let len = 24 * MIB;
    let file = publisher.file("update", len, 1);
    let web = Home::new();
    std::fs::copy(&file, web.path("update")).unwrap();
    let nginx = Nginx::start(web.dir(), 80, |command| net.on(1, 2, command));
    let url = format!("http://{}/update", net.address(1, 2));
    // It gives next to nothing itself: its line is that of a phone.
    let args = ["publish", path(&file), "--link", "--webseed", &url, "--limit-up", "40K"];
    let seeder = Seeder::start(net.on(1, 1, &publisher.bare_command(args)));
    let getters: Vec<Process> = homes
        .iter()
        .zip(1..)
        .map(|(home, host)| {
            let args = ["--json", "get", seeder.link(), "-o", "out", "--seed"];
            Process::spawn(net.on(2, host, &home.bare_command(args)))
        })
        .collect();
    for (getter, home) in getters.iter().zip(&homes) {
        wait_until("everybody has it", Duration::from_secs(120), || getter.event("done").is_some());
        assert_eq!(b3(&home.path("out")), b3(&file));
    }
    let copies = nginx.sent(206) as f64 / len as f64;
    println!("{copies} copies");
    // Sixteen processes on one machine hear late of each other: 1.0 to 1.1 copies on an idle machine, more
    // beside other tests. Without the rule that a server is the last resort it is 4 and more.
    assert!((0.8..=1.6).contains(&copies), "{copies} copies");
    nginx.stop();
}

/// A web server that has the hash list beside the file is enough when the publisher is gone.
#[test]
fn a_file_and_its_hash_list_on_a_web_server_are_enough() {
    let net = Internet::new(&[Site::public(2)]);
    let (publisher, getter, web) = (Home::new(), Home::new(), Home::new());
    let file = publisher.file("film", 12 * MIB, 2);
    std::fs::copy(&file, web.path("film")).unwrap();
    let nginx = Nginx::start(web.dir(), 8080, |command| net.on(1, 1, command));
    let url = format!("http://{}:8080/film", net.address(1, 1));
    let list = web.path("film.swarm");
    let args = ["publish", path(&file), "--link", "--webseed", &url, "--hash-list", path(&list)];
    let seeder = Seeder::start(net.on(1, 1, &publisher.bare_command(args)));
    let link = seeder.link().to_owned();
    seeder.stop().exits(0);
    let args = ["--json", "get", &link, "-o", "out", "--timeout", "40s"];
    Process::spawn(net.on(1, 2, &getter.bare_command(args))).wait_within(PATIENCE).success();
    assert_eq!(b3(&getter.path("out")), b3(&file));
    nginx.stop();
}

/// No link makes a node ask servers of its own machine or network, unless its owner allows that.
#[test]
fn d48_links_lead_to_no_private_server() {
    let (left, right, web) = (Home::new(), Home::new(), Home::new());
    let file = left.file("update", 3 * MIB, 3);
    std::fs::copy(&file, web.path("update")).unwrap();
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    let nginx = Nginx::start(web.dir(), port, |command| {
        let mut same = std::process::Command::new(command.get_program());
        same.args(command.get_args());
        same
    });
    let url = format!("http://127.0.0.1:{port}/update");
    let seeder = left.publish_with(&file, &["--webseed", &url, "--limit-up", "40K"]);
    let link = seeder.link().to_owned();
    // The publisher has looked how long the file is there.
    assert_eq!((nginx.sent(206), nginx.sent(200)), (2, 0));
    let ran = right.get(&link, &["-o", "out", "--timeout", "6s"]);
    ran.exits(5);
    assert_eq!(nginx.sent(206) + nginx.sent(200), 2, "it was asked");
    seeder.stop().exits(0);
    // The reason is said, and what would allow it.
    let ran = Home::new().get(&link, &["-o", "out", "--timeout", "4s"]);
    let said =
        "127.0.0.1, which is not on the internet: nothing is fetched from there without --private-webseeds";
    let out = String::from_utf8_lossy(&ran.out);
    assert!(out.contains(said) && !out.contains("connection lost"), "{out}");
    let seeder = left.publish_with(&file, &["--webseed", &url]);
    let getter = Home::new();
    getter.get(seeder.link(), &["-o", "out", "--private-webseeds", "--timeout", "30s"]).success();
    assert_eq!(b3(&getter.path("out")), b3(&file));
    seeder.stop().exits(0);
    // A publisher that names a server with other content is told.
    let daemon = left.daemon(&[]);
    let other = left.file("other", MIB, 6);
    let ran = left.run(["publish", path(&other), "--webseed", &url]);
    ran.exits(0);
    assert!(ran.err.contains(&format!("has {} bytes, but the file has {MIB}", 3 * MIB)), "{}", ran.err);
    daemon.stop().exits(0);
    nginx.stop();
}

/// A web server that has other bytes is given up at the first chunk.
#[test]
fn a_web_server_with_another_file_costs_one_chunk() {
    let net = Internet::new(&[Site::public(3)]);
    let (publisher, getter, web) = (Home::new(), Home::new(), Home::new());
    let file = publisher.file("update", 6 * MIB, 4);
    std::fs::rename(publisher.file("other", 6 * MIB, 5), web.path("update")).unwrap();
    let nginx = Nginx::start(web.dir(), 80, |command| net.on(1, 1, command));
    let url = format!("http://{}/update", net.address(1, 1));
    let list = web.path("update.swarm");
    let args = ["publish", path(&file), "--link", "--webseed", &url, "--hash-list", path(&list)];
    let seeder = Seeder::start(net.on(1, 2, &publisher.bare_command(args)));
    let link = seeder.link().to_owned();
    // While there is no peer, the server is asked.
    seeder.stop().exits(0);
    let args = ["--json", "get", &link, "-o", "out", "--timeout", "60s"];
    let get = Process::spawn(net.on(1, 3, &getter.bare_command(args)));
    let found_out = || String::from_utf8_lossy(&get.out()).contains("its file is another one");
    wait_until("the server is found out", PATIENCE, found_out);
    let args = ["publish", path(&file), "--link"];
    let seeder = Seeder::start(net.on(1, 2, &publisher.bare_command(args)));
    let ran = get.wait_within(PATIENCE);
    ran.success();
    seeder.stop().exits(0);
    // The server has no id: its URL is said, once.
    let said = format!("web seed {url}: its file is another one");
    let out = String::from_utf8_lossy(&ran.out);
    assert_eq!(out.matches(&said).count(), 1, "{out}");
    assert!(!out.contains("banned"), "{out}");
    assert_eq!(b3(&getter.path("out")), b3(&file));
    assert!(nginx.sent(206) <= MIB, "{} bytes", nginx.sent(206));
    nginx.stop();
}

/// Puts a file and its hash list on a server, publishes it, and ends the publisher. Returns the link.
fn published(home: &Home, file: &std::path::Path, server: &Scripted) -> String {
    let list = home.path("list");
    server.put("/film", std::fs::read(file).unwrap());
    let args = ["--webseed", &server.url("/film"), "--hash-list", path(&list)];
    let seeder = home.publish_with(file, &args);
    server.put("/film.swarm", std::fs::read(list).unwrap());
    let link = seeder.link().to_owned();
    seeder.stop().exits(0);
    link
}

/// Requests that fail while others are under way count as one, and a server that asks for a pause gets it.
#[test]
fn i8_a_server_that_asks_for_a_pause_gets_it() {
    let (publisher, getter) = (Home::new(), Home::new());
    let file = publisher.file("film", 12 * MIB, 7);
    let refused = std::sync::Mutex::new(0);
    // The first three chunks are under way together, and are refused.
    let server = Scripted::start(move |asked, _| {
        let mut refused = refused.lock().unwrap();
        let now = asked.path == "/film" && asked.range.len() > 2 && *refused < 3;
        *refused += u8::from(now);
        now.then_some("503 Busy\nRetry-After: 4")
    });
    let link = published(&publisher, &file, &server);
    let before = server.asked().len();
    getter.get(&link, &["-o", "out", "--private-webseeds", "--timeout", "40s"]).success();
    assert_eq!(b3(&getter.path("out")), b3(&file));
    let asked = server.asked().split_off(before);
    let longest = asked.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
    assert!((Duration::from_millis(3500)..Duration::from_secs(9)).contains(&longest), "{longest:?}");
    let looks = asked.iter().filter(|one| one.path == "/film" && one.range == (0..2)).count();
    assert_eq!(looks, 1, "the session went on");
}

/// A server that is busy when it is asked for the hash list is asked again. A publisher is told of a list
/// that is missing or wrong.
#[test]
fn i7_a_hash_list_is_asked_for_again() {
    let (publisher, getter) = (Home::new(), Home::new());
    let file = publisher.file("film", 6 * MIB, 8);
    let armed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let fails = std::sync::Arc::clone(&armed);
    let server = Scripted::start(move |asked, _| {
        let now = asked.path == "/film.swarm" && fails.swap(false, std::sync::atomic::Ordering::SeqCst);
        now.then_some("503 Busy\nRetry-After: 2")
    });
    let link = published(&publisher, &file, &server);
    armed.store(true, std::sync::atomic::Ordering::SeqCst);
    getter.get(&link, &["-o", "out", "--private-webseeds", "--timeout", "40s"]).success();
    assert_eq!(b3(&getter.path("out")), b3(&file));
    let daemon = publisher.daemon(&[]);
    let url = server.url("/film");
    let tell = || publisher.run(["publish", path(&file), "--webseed", &url]).err;
    assert!(!tell().contains("web seed"), "all is well");
    server.put("/film.swarm", vec![0; 5]);
    let said = tell();
    assert!(said.contains("the hash list beside the file (.swarm) has 5 bytes and should have"), "{said}");
    daemon.stop().exits(0);
}
