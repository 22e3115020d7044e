use super::*;

/// The columns of a bar on a screen of 80.
const WIDTH: usize = 80 - screen::MARGIN as usize;

fn gauge(done: u64, total: u64) -> Gauge {
    Gauge {
        done,
        total: Some(total),
        rate: Some(96 << 20),
        eta: Some(9),
        stalled: false,
        notes: vec!["peers 7 (publisher 12%, lan 88%)".into(), "peers 7 (lan 5)".into(), "peers 7".into()],
    }
}

/// The longest every number gets.
fn worst() -> Gauge {
    Gauge {
        done: 1023 << 20,
        total: Some(1023 << 30),
        rate: Some(1023 << 20),
        eta: Some(3599),
        stalled: false,
        notes: vec![
            "peers 256 (publisher 100%, lan 100%)".into(),
            "peers 256 (lan 256)".into(),
            "peers 256".into(),
        ],
    }
}

#[test]
fn shows_everything_in_80_columns() {
    let text = line("update.bin", &gauge(412 << 20, 1_288_490_189), WIDTH, false);
    assert_eq!(text, "update.bin  [===>      ] 412 MiB/1.2 GiB   96 MiB/s ETA 9s    peers 7 (lan 5)");
    let wide = line("update.bin", &gauge(412 << 20, 1_288_490_189), 120, false);
    assert!(wide.contains("publisher 12%, lan 88%"), "{wide}");
}

#[test]
fn never_wraps_whatever_the_name_and_the_width() {
    let names = [
        "",
        "a",
        "update.bin",
        &"x".repeat(300),
        &"更新文件".repeat(40),
        "\u{1b}[2J\u{202e}\n\r\t\u{7f}\u{0}",
        "👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦",
    ];
    let gauges =
        [gauge(0, 0), gauge(1, 3), worst(), Gauge::note("looking for somebody ".repeat(9)), Gauge::default()];
    for width in 4..=200 {
        for (name, gauge) in names.iter().flat_map(|name| gauges.iter().map(move |gauge| (name, gauge))) {
            for colors in [false, true] {
                let text = line(name, gauge, width, colors);
                assert!(measure_text_width(&text) <= width, "{width}: {text:?}");
                assert!(colors || !text.chars().any(char::is_control), "{text:?}");
            }
        }
    }
}

#[test]
fn keeps_the_columns_of_several_bars_aligned() {
    let at = |gauge: &Gauge, name: &str| line(name, gauge, WIDTH, false).find(']');
    assert_eq!(at(&gauge(5, 1 << 40), "a"), at(&gauge(9 << 20, 77 << 20), "another-name-that-is-long"));
}

#[test]
fn drops_the_least_important_first() {
    let worst = worst();
    assert!(line("n", &worst, WIDTH, false).ends_with("peers 256"));
    let narrow = line("n", &worst, 55, false);
    assert!(narrow.contains("1023 MiB/1023 GiB") && !narrow.contains("peers"), "{narrow}");
    assert!(line("n", &worst, 30, false).contains("1023 MiB/1023 GiB"));
}

#[test]
fn a_bar_is_full_only_at_the_end() {
    assert_eq!(bar(0, 0, 10, false), "[========]");
    assert_eq!(bar(0, 9, 10, false), "[        ]");
    assert_eq!(bar(u64::MAX - 1, u64::MAX, 10, false), "[=======>]");
    assert_eq!(bar(u64::MAX, u64::MAX, 10, false), "[========]");
    assert!(bar(1, 2, 10, true).contains('\u{1b}'));
    assert_eq!(percent(999, 1000), 99);
    assert_eq!(percent(u64::MAX, u64::MAX), 100);
}

#[test]
fn pipes_get_a_sentence() {
    assert_eq!(
        sentence("up\ndate", &gauge(512 << 20, 1 << 30)),
        "up\\u{a}date: 512 MiB of 1.0 GiB (50%), 96 MiB/s, ETA 9s, peers 7 (publisher 12%, lan 88%)"
    );
    assert_eq!(sentence("a", &Gauge::note("searching")), "a: searching");
}

#[test]
fn what_stands_still_is_called_stalled() {
    let stalled = Gauge { stalled: true, eta: Some(4_795_200), ..gauge(1, 3) };
    let text = line("update.bin", &stalled, WIDTH, false);
    assert!(text.contains("stalled") && !text.contains("ETA"), "{text}");
    assert!(sentence("x", &stalled).contains("stalled") && !sentence("x", &stalled).contains("ETA"));
    let now = Instant::now();
    let mut meter = Meter { name: String::new(), sink: Sink::Off, moved: (0, now) };
    for (done, after, still) in
        [(0, 9, false), (0, 10, true), (1, 11, false), (1, 20, false), (1, 21, true), (3, 40, false)]
    {
        let at = now + Duration::from_secs(after);
        assert_eq!(meter.stands_still(&gauge(done, 3), at), still, "{done} after {after}");
    }
    assert!(!meter.stands_still(&Gauge::note("looking"), now + Duration::from_secs(90)));
}
