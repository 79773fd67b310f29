//! Services that fail, and how often they are asked.

use std::time::Duration;

use attestation::snp::Product;
use endorsements::{AmdKey, Item, Mode, Origin, Step};

use crate::papers::{DAY, amd_crl};
use crate::service::{Reply, Service};
use crate::stage::{Fake, Folder, IMPATIENT, Stage, config, fetcher};

const ITEM: Item = Item::AmdCrl(Product::Genoa, AmdKey::Vcek);

fn list() -> Vec<u8> {
    amd_crl(Product::Genoa, 3, -DAY, DAY)
}

/// What may pass is tried again and again, what will not is not.
#[tokio::test]
async fn faults_have_their_code_and_their_number_of_attempts() {
    let stage = Stage::new("faults").await;
    let mut torn = list();
    torn.truncate(torn.len() / 2);
    let html = vec![("content-type", "text/html; charset=utf-8".to_owned())];
    let gzip = vec![("content-encoding", "gzip".to_owned())];
    let location = vec![("location", format!("{}/elsewhere", stage.service.url))];
    for (reply, code, asked) in [
        (Reply::Status(500, vec![]), "service-status", 3),
        (Reply::Status(503, vec![]), "service-status", 3),
        (Reply::Status(408, vec![]), "service-status", 3),
        (Reply::Status(400, vec![]), "service-status", 1),
        (Reply::Status(403, vec![]), "service-status", 1),
        (Reply::Status(204, vec![]), "service-status", 1),
        (Reply::Status(404, vec![]), "not-at-the-service", 1),
        (Reply::Status(301, location.clone()), "service-redirects", 1),
        (Reply::Status(307, location), "service-redirects", 1),
        (Reply::CutOff(list()), "answer-cut-off", 3),
        (Reply::Nothing, "answer-cut-off", 3),
        (Reply::Endless, "answer-too-long", 1),
        (Reply::body(&vec![b'0'; (1 << 20) + 1]), "answer-too-long", 1),
        (Reply::Ok(html, list()), "answer-media-type", 1),
        (Reply::Ok(gzip, list()), "answer-media-type", 1),
        (Reply::Ok(vec![], torn), "answer-malformed", 1),
        (Reply::Ok(vec![], [list(), vec![0]].concat()), "answer-malformed", 1),
        (Reply::Ok(vec![], amd_crl(Product::Genoa, 3, -2 * DAY, -1)), "answer-ended", 1),
        (Reply::Ok(vec![], amd_crl(Product::Genoa, 3, DAY, 2 * DAY)), "answer-not-yet-valid", 3),
    ] {
        stage.service.always(reply.clone());
        let error = stage.obtain(&ITEM).await.unwrap_err();
        let mut shown = format!("{error} {reply:?}");
        shown.truncate(300);
        assert_eq!((error.code(), stage.service.count()), (code, asked), "{shown}");
        assert!(stage.service.lines().iter().all(|line| line == "GET /vcek/v1/Genoa/crl"));
    }
    assert!(stage.folder.files("endorsement").is_empty(), "nothing of it is kept");
}

#[tokio::test]
async fn a_service_that_says_nothing_is_given_up() {
    let (folder, world, service) = (Folder::new("slow"), Fake::new(), Service::start().await);
    let hasty = "[http]\nanswer_ms = 100\nattempts = 2\n";
    let fetcher = fetcher(&folder, config(&[&service.url], hasty), &world);
    service.always(Reply::Silence);
    let error = fetcher.obtain(&ITEM, Mode::Cached, &|_| ()).await.unwrap_err();
    assert_eq!((error.code(), service.count()), ("service-timed-out", 2));
    let nobody = config(&["http://127.0.0.1:1"], hasty);
    let fetcher = self::fetcher(&folder, nobody, &world);
    let error = fetcher.obtain(&ITEM, Mode::Cached, &|_| ()).await.unwrap_err();
    assert_eq!(error.code(), "service-unreachable");
}

#[tokio::test]
async fn a_fault_that_passes_is_waited_for_with_growing_patience() {
    let stage = Stage::new("passes").await;
    stage.service.answer(|_, before| match before {
        0 => Reply::Status(500, vec![]),
        1 => Reply::CutOff(list()),
        _ => Reply::body(&list()),
    });
    let steps = std::sync::Mutex::new(Vec::new());
    let tell = |step: Step| steps.lock().unwrap().push(step);
    let got = stage.fetcher.obtain(&ITEM, Mode::Cached, &tell).await.unwrap();
    assert_eq!((got.origin, stage.service.count()), (Origin::Network, 3));
    let [first, second] = stage.world.waits()[..] else { panic!("two waits") };
    let ms = |from, to| Duration::from_millis(from)..=Duration::from_millis(to);
    assert!(
        ms(250, 500).contains(&first) && ms(500, 1000).contains(&second),
        "{first:?} {second:?}"
    );
    let steps = steps.into_inner().unwrap();
    let asked = steps.iter().filter(|step| matches!(step, Step::Asking { .. })).count();
    assert_eq!((asked, steps.len()), (3, 5), "{steps:?}");
}

fn too_many(after: &str) -> Reply {
    Reply::Status(429, vec![("retry-after", after.to_owned())])
}

#[tokio::test]
async fn retry_after_is_waited_for_where_it_is_short() {
    let stage = Stage::new("retry-after").await;
    for (status, after) in [(429, "17"), (503, "17")] {
        stage.service.answer(move |_, before| match before {
            0 => Reply::Status(status, vec![("retry-after", after.to_owned())]),
            _ => Reply::body(&amd_crl(Product::Genoa, u64::from(status), -DAY, DAY)),
        });
        stage.fetcher.obtain(&ITEM, Mode::Fresh, &|_| ()).await.unwrap();
        assert_eq!(stage.service.count(), 2);
        assert_eq!(stage.world.waits().last(), Some(&Duration::from_secs(17)));
    }
}

/// A service that wants to be left alone is, by all items, tasks and processes.
#[tokio::test]
async fn a_long_retry_after_holds_for_the_whole_service_and_all_processes() {
    let stage = Stage::new("hold").await;
    stage.service.always(too_many("600"));
    let error = stage.obtain(&ITEM).await.unwrap_err();
    assert_eq!((error.code(), stage.service.count()), ("rate-limited", 1));
    stage.service.always(Reply::body(&list()));
    let milan = Item::AmdCrl(Product::Milan, AmdKey::Vcek);
    for fetcher in [&stage.fetcher, &stage.another()] {
        for item in [&ITEM, &milan] {
            let error = fetcher.obtain(item, Mode::Cached, &|_| ()).await.unwrap_err();
            assert_eq!((error.code(), stage.service.count()), ("rate-limited", 0));
        }
    }
    assert!(stage.world.waits().is_empty(), "nobody waits ten minutes");
    stage.world.pass(601);
    stage.obtain(&ITEM).await.unwrap();
    assert_eq!(stage.service.count(), 1);
}

/// Neither a damaged note nor a clock that was wrong holds anything for longer than an hour.
#[tokio::test]
async fn no_note_holds_a_service_for_ever() {
    let stage = Stage::new("hold-bounded").await;
    stage.service.always(too_many("600"));
    stage.obtain(&ITEM).await.unwrap_err();
    let holds = stage.folder.files("hold");
    let [note] = holds.as_slice() else { panic!("one note: {holds:?}") };
    stage.service.always(Reply::body(&list()));
    for (text, asked) in [("9999-12-31T23:59:59Z", 0), ("soon", 1)] {
        std::fs::write(note, text).unwrap();
        let outcome = stage.another().obtain(&ITEM, Mode::Fresh, &|_| ()).await;
        assert_eq!((outcome.is_ok(), stage.service.count()), (asked == 1, asked), "{text}");
    }
}

#[tokio::test]
async fn mirrors_are_asked_in_their_order() {
    let (folder, world) = (Folder::new("mirrors"), Fake::new());
    let (first, second) = (Service::start().await, Service::start().await);
    let fetcher = fetcher(&folder, config(&[&first.url, &second.url], IMPATIENT), &world);
    second.always(Reply::body(&list()));
    for reply in [
        Reply::Status(404, vec![]),
        Reply::body(b"garbage"),
        Reply::body(&amd_crl(Product::Milan, 3, -DAY, DAY)),
        too_many("600"),
        // It is still left alone.
        Reply::body(&list()),
    ] {
        first.always(reply);
        let got = fetcher.obtain(&ITEM, Mode::Fresh, &|_| ()).await.unwrap();
        assert!(got.source.starts_with(&second.url), "{}", got.source);
    }
    assert_eq!((first.count(), second.count()), (0, 5));
    world.pass(601);
    let got = fetcher.obtain(&ITEM, Mode::Fresh, &|_| ()).await.unwrap();
    assert!(got.source.starts_with(&first.url), "{}", got.source);
}
