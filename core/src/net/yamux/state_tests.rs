//! The rules of yamux, its bounds and its fairness, without a socket.
#![allow(clippy::unwrap_used)]

use futures::task::noop_waker;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn data(flags: u16, stream: u32, len: u32) -> Header {
    Header::new(FrameKind::Data, flags, stream, len)
}

/// Feeds a header and as many bytes of payload as it announces.
fn feed(state: &mut YamuxState, header: Header) -> Result<(), MuxerError> {
    let Some(mut body) = state.header(header)? else { return Ok(()) };
    while body.left > 0 {
        let mut buffer = state.room(body);
        let count = buffer.room().len().min(body.left);
        buffer.grow(count);
        state.received(&mut body, buffer, count);
    }
    Ok(())
}

fn server() -> YamuxState {
    YamuxState::new(Side::Server, Growth::new(u32::MAX))
}

#[test]
fn rules_of_the_protocol_are_enforced() {
    let broken = |headers: &[Header]| {
        let mut state = server();
        let results: Vec<_> = headers.iter().map(|header| feed(&mut state, *header)).collect();
        let (last, before) = results.split_last().unwrap();
        assert!(before.iter().all(Result::is_ok), "{before:?}");
        assert!(matches!(last, Err(MuxerError::Protocol(_))), "{last:?}");
    };
    // More than the window, at once or with the second frame.
    broken(&[data(SYN, 1, FIRST_WINDOW + 1)]);
    broken(&[data(SYN, 1, FIRST_WINDOW), data(0, 1, 1)]);
    // An id of ours, an id of 0, one id twice; bytes after the end; more credit than the number can hold.
    broken(&[data(SYN, 2, 0)]);
    broken(&[data(SYN, 0, 0)]);
    broken(&[data(SYN, 1, 0), data(SYN, 1, 0)]);
    broken(&[data(SYN | FIN, 1, 5), data(0, 1, 1)]);
    broken(&[data(SYN, 1, 0), Header::new(FrameKind::Window, 0, 1, u32::MAX)]);
    // A stream that is gone allows no more bytes than a live one.
    broken(&[data(0, 1, u32::MAX)]);
}

#[test]
fn what_arrived_before_a_reset_or_an_end_is_read() {
    let waker = noop_waker();
    let cx = Context::from_waker(&waker);
    for last in [data(RST, 1, 0), data(FIN, 1, 0)] {
        let mut state = server();
        feed(&mut state, data(SYN, 1, 100)).unwrap();
        feed(&mut state, last).unwrap();
        let mut into = [0; 60];
        assert!(matches!(state.poll_read(1, &cx, &mut into), Poll::Ready(Ok(60))));
        assert!(matches!(state.poll_read(1, &cx, &mut into), Poll::Ready(Ok(40))));
        match state.poll_read(1, &cx, &mut into) {
            Poll::Ready(Ok(0)) => assert!(last.has(FIN)),
            Poll::Ready(Err(_)) => assert!(last.has(RST)),
            other => panic!("{other:?}"),
        }
    }
}

/// One stream that never pauses, and one that sends a message now and then.
#[test]
fn a_word_passes_a_flood() {
    let waker = noop_waker();
    let cx = Context::from_waker(&waker);
    let mut state = YamuxState::new(Side::Client, Growth::new(0));
    let ids = [1, 3].map(|_| match state.poll_open(&cx) {
        Poll::Ready(Ok(id)) => id,
        other => panic!("{other:?}"),
    });
    for id in ids {
        feed(&mut state, Header::new(FrameKind::Window, 0, id, u32::MAX / 2)).unwrap();
    }
    let bytes = [1; FRAME];
    for _ in 0..1000 {
        while let Poll::Ready(written) = state.poll_write(ids[0], &cx, &bytes) {
            written.unwrap();
        }
        assert!(matches!(state.poll_write(ids[1], &cx, b"word"), Poll::Ready(Ok(4))));
        assert!(state.poll_write(ids[1], &cx, b"again").is_pending(), "one at a time while it is full");
        let sent = std::iter::from_fn(|| state.next_frame()).any(|frame| frame.len() < 100);
        assert!(sent);
    }
}

#[test]
fn a_writer_sends_no_more_than_it_may() {
    let waker = noop_waker();
    let cx = Context::from_waker(&waker);
    let mut state = YamuxState::new(Side::Client, Growth::new(0));
    let Poll::Ready(Ok(id)) = state.poll_open(&cx) else { panic!("a place") };
    let mut sent = 0;
    let bytes = [1; FRAME];
    while let Poll::Ready(written) = state.poll_write(id, &cx, &bytes) {
        sent += written.unwrap();
        while state.next_frame().is_some() {}
    }
    assert_eq!(sent, FIRST_WINDOW as usize);
    feed(&mut state, Header::new(FrameKind::Window, ACK, id, 7)).unwrap();
    assert!(matches!(state.poll_write(id, &cx, &bytes), Poll::Ready(Ok(7))));
}

#[test]
fn a_reader_that_keeps_up_gets_a_larger_window_and_gives_it_back() {
    let waker = noop_waker();
    let cx = Context::from_waker(&waker);
    let mut state = server();
    feed(&mut state, data(SYN, 1, 0)).unwrap();
    let mut into = [0; FRAME];
    for _ in 0..2000 {
        let granted = state.streams[&1].granted;
        feed(&mut state, data(0, 1, granted.min(FRAME as u32))).unwrap();
        let _ = state.poll_read(1, &cx, &mut into);
        while state.next_frame().is_some() {}
    }
    assert_eq!(state.grown, WINDOW_GROWTH);
    state.forget(1);
    assert_eq!(state.grown, 0);
}

proptest! {
    /// Any frames in any order, with payloads cut anywhere, give errors but never a panic. Memory never
    /// exceeds the windows, and every byte of a window is accounted for.
    #[test]
    fn memory_stays_bounded(
        frames in vec((0..4_u8, 0..16_u16, 0..9_u32, prop_oneof![0..9_u32, 0..70_000_u32, any::<u32>()]), 1..100),
        cuts in vec((0..9_u32, 1..90_000_usize, 0..50_000_usize), 1..50),
    ) {
        let waker = noop_waker();
        let cx = Context::from_waker(&waker);
        let mut state = YamuxState::new(Side::Server, Growth::new(1 << 20));
        let mut into = [0; 50_000];
        let mut cuts = cuts.into_iter().cycle();
        'all: for (kind, flags, stream, len) in frames {
            let kind = [FrameKind::Data, FrameKind::Window, FrameKind::Ping, FrameKind::GoAway][usize::from(kind)];
            let Ok(body) = state.header(Header::new(kind, flags, stream, len)) else { break };
            let mut body = body.unwrap_or(Body { stream, left: 0, fin: false });
            loop {
                let Some((reader, cut, read)) = cuts.next() else { break 'all };
                let mut buffer = state.room(body);
                let count = buffer.room().len().min(body.left).min(cut);
                buffer.grow(count);
                state.received(&mut body, buffer, count);
                let _ = state.poll_read(reader, &cx, &mut into[..read]);
                if cut % 50 == 0 {
                    state.forget(reader);
                }
                for stream in state.streams.values() {
                    let held: usize = stream.received.iter().map(Buffer::len).sum();
                    prop_assert_eq!(stream.unread as usize, held);
                    let known = stream.granted + stream.coming + stream.unread + stream.consumed;
                    prop_assert_eq!(known, stream.window);
                }
                let windows: usize = state.streams.values().map(|s| s.window as usize).sum();
                prop_assert!(windows <= state.streams.len() * FIRST_WINDOW as usize + (1 << 20));
                prop_assert!(state.streams.len() <= STREAMS);
                if body.left == 0 {
                    break;
                }
            }
        }
    }
}
