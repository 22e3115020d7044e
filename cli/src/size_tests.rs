use super::*;

fn rate_of(text: &str) -> u64 {
    text.parse::<Rate>().expect(text).0.expect(text)
}

#[test]
fn reads_rates_and_sizes() {
    for (text, want) in [
        ("1B", 1),
        ("1 B/s", 1),
        ("1024", 1024),
        ("5000000", 5_000_000),
        ("20M", 20 << 20),
        ("20MiB", 20 << 20),
        ("20m", 20 << 20),
        ("20MB", 20_000_000),
        ("5MB/s", 5_000_000),
        ("5 MB/s", 5_000_000),
        ("1.5GiB", 3 << 29),
        ("100Mbit", 12_500_000),
        ("100Mbit/s", 12_500_000),
        ("8Mibit", 1 << 20),
        ("64kb", 64_000),
        ("9bit", 1),
        (".5K", 512),
        ("2T", 2 << 40),
    ] {
        assert_eq!(rate_of(text), want, "{text}");
    }
    assert_eq!("1.5GiB".parse(), Ok(Size(Some(3 << 29))));
    assert_eq!("None".parse(), Ok(Size(None)));
    assert_eq!("none".parse(), Ok(Rate(None)));
}

#[test]
fn refuses_what_is_not_one() {
    for bad in
        ["", "M", "x", "1x", "-1", "1..5", "1.2.3", "0", "0.1", "99999999T", "1.0000000001M", "5iB", "5/s/s"]
    {
        assert!(bad.parse::<Rate>().is_err(), "{bad}");
    }
    for bad in ["5MB/s", "100Mbit"] {
        assert!(bad.parse::<Size>().is_err(), "{bad}");
    }
    for bare in ["1", "5", "20", "5/s", "1023", "0.5"] {
        let why = bare.parse::<Rate>().expect_err(bare);
        assert!(why.contains("has no unit") || bare == "0.5", "{bare}: {why}");
    }
    assert!("20".parse::<Size>().expect_err("no unit").contains("`20M` for 20 MiB, or `20B` for 20 bytes"));
    assert!("5Mb".parse::<Rate>().expect_err("ambiguous").contains("`Mbit`"));
}

#[test]
fn limits_print_as_they_are_read() {
    for n in [1, 1000, 1024, 20 << 20, 5_000_000, 3 << 29, 7 << 40, 1 << 63, u64::MAX] {
        let text = String::from(Size(Some(n)));
        assert_eq!(text.parse(), Ok(Size(Some(n))), "{text}");
        let text = String::from(Rate(Some(n)));
        assert_eq!(text.parse(), Ok(Rate(Some(n))), "{text}");
    }
    assert_eq!(String::from(Size(None)), "none");
    assert_eq!(exact(0), "0B");
}

#[test]
fn reads_durations() {
    for (text, want) in [
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("90", 90_000),
        ("1d 2h", 93_600_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(want)), "{text}");
    }
    for bad in
        ["", "s", "0", "0s", "5x", "1h30", "-3s", "1.5h", "99999999999999999999s", "18446744073709551615d"]
    {
        assert!(parse_duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn prints_bytes_short() {
    for (n, want) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10 << 10, "10 KiB"),
        ((10 << 20) - 1, "10 MiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (412 << 20, "412 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (u64::MAX, "16 EiB"),
    ] {
        assert_eq!(bytes(n), want, "{n}");
        assert!(bytes(n).len() <= 8, "{n}");
    }
}

#[test]
fn prints_counts_and_times() {
    assert_eq!(count(4812), "4,812");
    assert_eq!(count(999), "999");
    assert_eq!(count(1_000_000), "1,000,000");
    assert_eq!(plural(1, "file"), "1 file");
    assert_eq!(plural(0, "file"), "0 files");
    assert_eq!(seconds(9), "9s");
    assert_eq!(seconds(62), "1m 02s");
    assert_eq!(seconds(11_100), "3h 05m");
    assert_eq!(seconds(187_200), "2d 4h");
    assert_eq!(millis(1234), "1.2s");
    assert_eq!(millis(14_400), "14s");
    assert_eq!(millis(9_960), "10s");
}
