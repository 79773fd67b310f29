//! What is kept, for how long, and what never takes its place.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attestation::snp::Product;
use endorsements::{
    AmdKey, Disk, Fetcher, Health, Item, Mode, Obtained, Origin, OsDisk, Unavailable, Update,
};

use crate::papers::{Authority, DAY, FMSPC, amd_crl, pem, pki, tcb_info};
use crate::service::{Reply, Service};
use crate::stage::{Fake, Folder, IMPATIENT, Stage, config, fetcher_with};

const ITEM: Item = Item::AmdCrl(Product::Genoa, AmdKey::Vcek);
const TCB_INFO: Item = Item::IntelTcbInfo { fmspc: FMSPC, update: Update::Standard };

fn list(number: u64) -> Reply {
    Reply::body(&amd_crl(Product::Genoa, number, -DAY, DAY))
}

async fn obtain(fetcher: &Fetcher, item: &Item, mode: Mode) -> Result<Obtained, Unavailable> {
    fetcher.obtain(item, mode, &|_| ()).await
}

fn secs(days: i64) -> u64 {
    (days * DAY).unsigned_abs()
}

#[tokio::test]
async fn what_is_kept_is_used_until_a_quarter_is_left() {
    let stage = Stage::new("refresh").await;
    stage.service.always(list(3));
    let got = stage.obtain(&ITEM).await.unwrap();
    // It ends in a day.
    assert_eq!(got.refresh_at.as_secs() - got.fetched_at.as_secs(), secs(3) / 4);
    for (pass, origin, asked) in [
        (0, Origin::Cache, 1),
        (secs(3) / 4 - 1, Origin::Cache, 1),
        (1, Origin::Network, 2),
        (0, Origin::Cache, 2),
    ] {
        stage.world.pass(pass);
        let got = stage.obtain(&ITEM).await.unwrap();
        assert_eq!((got.origin, stage.service.count()), (origin, asked), "after {pass}");
    }
    // Another process has it too.
    let another = stage.another();
    assert_eq!(obtain(&another, &ITEM, Mode::Cached).await.unwrap().origin, Origin::Cache);
    assert_eq!(obtain(&another, &ITEM, Mode::Offline).await.unwrap().origin, Origin::Cache);
}

/// Whoever can write into the folder makes it useless, and cannot make anybody wait for ever.
#[tokio::test]
async fn pipes_and_folders_in_the_cache_are_damaged_files() {
    let stage = Stage::new("pipes").await;
    stage.service.always(list(3));
    stage.obtain(&ITEM).await.unwrap();
    let kept = stage.folder.files("endorsement").remove(0);
    let pipe = |path: &Path| {
        drop(fs::remove_file(path));
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    pipe(&kept);
    fs::create_dir(kept.with_file_name("folder.endorsement")).unwrap();
    let health = |fetcher: &Fetcher| -> Vec<_> {
        fetcher.status().unwrap().iter().map(|entry| entry.health).collect()
    };
    assert_eq!(health(&stage.another()), [Health::Damaged; 2]);
    assert_eq!(stage.another().kept().unwrap(), []);
    let another = stage.another();
    let offline = obtain(&another, &ITEM, Mode::Offline).await;
    assert_eq!(offline.unwrap_err().code(), "offline");
    assert_eq!(obtain(&another, &ITEM, Mode::Cached).await.unwrap().origin, Origin::Network);
    assert_eq!(obtain(&another, &ITEM, Mode::Cached).await.unwrap().origin, Origin::Cache);
    // Neither a service's wish nor the memory of numbers is waited for.
    stage.service.always(Reply::Status(429, vec![("retry-after", "60".to_owned())]));
    drop(obtain(&stage.another(), &ITEM, Mode::Fresh).await);
    pipe(&stage.folder.files("hold").remove(0));
    stage.service.always(list(4));
    let got = obtain(&stage.another(), &ITEM, Mode::Fresh).await.unwrap();
    assert_eq!(got.origin, Origin::Network);
    another.marks().raise(&TCB_INFO, 18).unwrap();
    pipe(&another.marks().path());
    assert!(another.marks().all().is_err());
}

/// A list that is good for years is looked at anew each day; a certificate is not.
#[tokio::test]
async fn news_are_fetched_daily_and_certificates_are_not() {
    let stage = Stage::new("news").await;
    let long = amd_crl(Product::Genoa, 3, -DAY, 1000 * DAY);
    stage.service.always(Reply::body(&long));
    let got = stage.obtain(&ITEM).await.unwrap();
    assert_eq!(got.refresh_at.as_secs() - got.fetched_at.as_secs(), secs(1));
    let pki = pki(Product::Genoa);
    stage.service.always(Reply::body(pem(&[pki.ask(), pki.ark()]).as_bytes()));
    let chain = Item::AmdChain(Product::Genoa, AmdKey::Vcek);
    let got = stage.obtain(&chain).await.unwrap();
    assert_eq!(got.refresh_at.as_secs() - got.fetched_at.as_secs(), secs(25 * 3) / 4);
}

#[tokio::test]
async fn without_an_answer_what_is_kept_is_used_to_its_end_and_not_beyond() {
    let stage = Stage::new("ends").await;
    stage.service.always(list(3));
    stage.obtain(&ITEM).await.unwrap();
    stage.service.always(Reply::Status(500, vec![]));
    stage.world.pass(secs(1) - 100);
    let got = stage.obtain(&ITEM).await.unwrap();
    assert!(matches!(got.origin, Origin::CacheAfter(ref why) if why.code() == "service-status"));
    assert_eq!(stage.fetcher.status().unwrap()[0].health, Health::Due);
    // The service answers with what has ended meanwhile: it is not taken for new.
    stage.world.pass(200);
    stage.service.always(list(3));
    let error = stage.obtain(&ITEM).await.unwrap_err();
    assert_eq!(error.code(), "answer-ended");
    assert_eq!(
        obtain(&stage.fetcher, &ITEM, Mode::Offline).await.unwrap_err().code(),
        "answer-ended"
    );
    assert_eq!(stage.fetcher.status().unwrap()[0].health, Health::Ended);
    assert!(stage.fetcher.kept().unwrap().is_empty());
}

#[tokio::test]
async fn offline_asks_nobody() {
    let stage = Stage::new("offline").await;
    stage.service.always(list(3));
    let error = obtain(&stage.fetcher, &ITEM, Mode::Offline).await.unwrap_err();
    assert_eq!((error.code(), stage.service.count()), ("offline", 0));
}

#[tokio::test]
async fn an_older_list_never_takes_the_place_of_a_newer() {
    let stage = Stage::new("older").await;
    stage.service.always(list(5));
    stage.obtain(&ITEM).await.unwrap();
    stage.world.pass(secs(3) / 4);
    let earlier = amd_crl(Product::Genoa, 5, -2 * DAY, DAY);
    for (reply, seen) in [(list(4), 5), (Reply::body(&earlier), 1)] {
        stage.service.always(reply);
        let got = stage.obtain(&ITEM).await.unwrap();
        let Origin::CacheAfter(why) = got.origin else { panic!("kept") };
        assert_eq!((why.code(), got.document.number()), ("answer-rolled-back", Some(5)), "{seen}");
        assert_eq!(stage.service.count(), 1);
    }
    // Not even once the kept one has ended.
    stage.world.pass(secs(1));
    stage.service.always(Reply::body(&amd_crl(Product::Genoa, 4, -DAY, 9 * DAY)));
    assert_eq!(stage.obtain(&ITEM).await.unwrap_err().code(), "answer-rolled-back");
    // The way out of a cache that somebody spoilt has to be asked for.
    obtain(&stage.fetcher, &ITEM, Mode::Fresh).await.unwrap();
}

fn evaluation(signer: &Authority, number: u32) -> Reply {
    let headers = vec![("TCB-Info-Issuer-Chain", signer.header())];
    Reply::Ok(headers, tcb_info(number, -DAY, 20 * DAY))
}

/// An evaluation number that was authentic once is remembered for longer than the cache.
#[tokio::test]
async fn evaluation_numbers_are_remembered_without_the_cache() {
    let stage = Stage::new("marks").await;
    let signer = Authority::intel("Intel SGX TCB Signing");
    stage.service.always(evaluation(&signer, 18));
    let got = stage.obtain(&TCB_INFO).await.unwrap();
    stage.fetcher.marks().raise(&got.item, got.document.number().unwrap()).unwrap();
    fs::remove_dir_all(stage.folder.0.join("cache")).unwrap();
    stage.service.always(evaluation(&signer, 17));
    for mode in [Mode::Cached, Mode::Fresh] {
        let error = obtain(&stage.another(), &TCB_INFO, mode).await.unwrap_err();
        assert_eq!(error.code(), "answer-rolled-back", "{error}");
        assert!(error.to_string().contains("17") && error.to_string().contains("18"), "{error}");
    }
    stage.service.always(evaluation(&signer, 18));
    stage.obtain(&TCB_INFO).await.unwrap();
    // A memory that is damaged is not an empty one.
    fs::write(stage.fetcher.marks().path(), "{").unwrap();
    stage.service.always(evaluation(&signer, 19));
    let got = obtain(&stage.fetcher, &TCB_INFO, Mode::Fresh).await.unwrap();
    assert!(matches!(got.origin, Origin::CacheAfter(ref why) if why.code() == "marks-unusable"));
}

/// Nobody has vouched for a number that was only fetched: a mirror cannot lock out Intel for good.
#[tokio::test]
async fn fetching_alone_raises_no_mark() {
    let stage = Stage::new("no-mark").await;
    let signer = Authority::intel("Intel SGX TCB Signing");
    stage.service.always(evaluation(&signer, u32::MAX));
    stage.obtain(&TCB_INFO).await.unwrap();
    assert!(stage.fetcher.marks().all().unwrap().is_empty());
    stage.service.always(evaluation(&signer, 18));
    let got = obtain(&stage.fetcher, &TCB_INFO, Mode::Fresh).await.unwrap();
    assert_eq!(got.document.number(), Some(18));
}

#[tokio::test]
async fn a_damaged_file_is_removed_and_fetched_again() {
    let stage = Stage::new("damaged").await;
    stage.service.always(list(3));
    stage.obtain(&ITEM).await.unwrap();
    let files = stage.folder.files("endorsement");
    let [path] = files.as_slice() else { panic!("one file: {files:?}") };
    let good = fs::read(path).unwrap();
    let with = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut damages: Vec<Vec<u8>> = (0..good.len()).step_by(97).map(with).collect();
    damages.extend([Vec::new(), good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat()]);
    for damage in damages {
        fs::write(path, &damage).unwrap();
        assert_eq!(stage.fetcher.status().unwrap()[0].health, Health::Damaged);
        stage.service.always(list(3));
        let offline = obtain(&stage.fetcher, &ITEM, Mode::Offline).await.unwrap_err();
        assert_eq!((offline.code(), path.exists()), ("offline", false));
        let got = stage.obtain(&ITEM).await.unwrap();
        assert_eq!((got.origin, stage.service.count()), (Origin::Network, 1));
        assert_eq!(fs::read(path).unwrap().len(), good.len());
    }
    // One that is whole, and of another item.
    stage.service.always(Reply::body(&amd_crl(Product::Milan, 3, -DAY, DAY)));
    let milan = Item::AmdCrl(Product::Milan, AmdKey::Vcek);
    stage.obtain(&milan).await.unwrap();
    let files = stage.folder.files("endorsement");
    let other = files.iter().find(|file| *file != path).unwrap();
    fs::copy(other, path).unwrap();
    assert_eq!(obtain(&stage.fetcher, &ITEM, Mode::Offline).await.unwrap_err().code(), "offline");
    assert_eq!(obtain(&stage.fetcher, &milan, Mode::Offline).await.unwrap().origin, Origin::Cache);
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let stage = Stage::new("at-once").await;
    let late = amd_crl(Product::Genoa, 3, -DAY, DAY);
    stage.service.always(Reply::Late(Duration::from_millis(50), late));
    let another = stage.another();
    let fetchers = [&stage.fetcher, &another];
    let all = (0..16).map(|n| obtain(fetchers[n % 2], &ITEM, Mode::Cached));
    let got = futures_util::future::join_all(all).await;
    assert!(got.iter().all(Result::is_ok), "{got:?}");
    assert_eq!(stage.service.count(), 1, "tasks and processes wait for each other");
    let fetched = got.iter().flatten().filter(|one| one.origin == Origin::Network).count();
    assert_eq!(fetched, 1);
}

#[tokio::test]
async fn results_come_in_the_order_of_the_items() {
    let stage = Stage::new("order").await;
    stage.service.answer(|asked, before| {
        let product = if asked.line.contains("Milan") { Product::Milan } else { Product::Genoa };
        let wait = Duration::from_millis(if before == 0 { 60 } else { 0 });
        Reply::Late(wait, amd_crl(product, 3, -DAY, DAY))
    });
    let items = [ITEM, Item::rim("none").unwrap(), Item::AmdCrl(Product::Milan, AmdKey::Vcek)];
    let got = stage.fetcher.obtain_all(&items, Mode::Cached, &|_| ()).await;
    let names = got.iter().map(|one| match one {
        Ok(obtained) => obtained.item.name(),
        Err(unavailable) => unavailable.item.clone(),
    });
    assert_eq!(names.collect::<Vec<_>>(), items.map(|item| item.name()));
    assert!(got[0].is_ok() && got[1].is_err() && got[2].is_ok());
}

/// Writes half of each file.
struct FullDisk;

impl Disk for FullDisk {
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OsDisk.write_new(path, &bytes[..bytes.len() / 2])?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }
}

#[tokio::test]
async fn a_full_disk_costs_the_cache_and_nothing_else() {
    let (folder, world, service) = (Folder::new("full"), Fake::new(), Service::start().await);
    service.always(list(3));
    let config = || config(&[&service.url], IMPATIENT);
    let full = fetcher_with(&folder, config(), &world, Arc::new(FullDisk));
    for asked in 1..=2 {
        let got = obtain(&full, &ITEM, Mode::Cached).await.unwrap();
        assert!(matches!(got.origin, Origin::NotKept(_)), "{:?}", got.origin);
        assert_eq!(service.count(), asked);
    }
    assert!(folder.files("endorsement").is_empty() && folder.files("new").is_empty());
    // What was there before stays as it was.
    let good = fetcher_with(&folder, config(), &world, Arc::new(OsDisk));
    obtain(&good, &ITEM, Mode::Cached).await.unwrap();
    let before = fs::read(&folder.files("endorsement")[0]).unwrap();
    service.always(list(4));
    let got = obtain(&full, &ITEM, Mode::Fresh).await.unwrap();
    assert_eq!(got.document.number(), Some(4));
    assert_eq!(fs::read(&folder.files("endorsement")[0]).unwrap(), before);
}

/// What a crash left beside is written over, and a link there is not written through.
#[tokio::test]
async fn leftovers_are_in_nobodys_way() {
    let stage = Stage::new("leftovers").await;
    stage.service.always(list(3));
    stage.obtain(&ITEM).await.unwrap();
    let path = stage.folder.files("endorsement").remove(0);
    let victim = stage.folder.0.join("victim");
    fs::write(&victim, "dear").unwrap();
    std::os::unix::fs::symlink(&victim, path.with_extension("new")).unwrap();
    fs::remove_file(&path).unwrap();
    let got = stage.obtain(&ITEM).await.unwrap();
    assert_eq!(got.origin, Origin::Network);
    assert_eq!(fs::read(&victim).unwrap(), b"dear");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[tokio::test]
async fn the_folder_does_not_outgrow_its_bound() {
    let (folder, world, service) = (Folder::new("bound"), Fake::new(), Service::start().await);
    service.answer(|asked, _| {
        let product = ["Milan", "Genoa", "Turin"].iter().position(|p| asked.line.contains(p));
        Reply::body(&amd_crl(Product::ALL[product.unwrap()], 3, -DAY, DAY))
    });
    let items = Product::ALL.map(|product| Item::AmdCrl(product, AmdKey::Vcek));
    let more = format!("{IMPATIENT}[cache]\nlen_max = 3000\n");
    let fetcher = fetcher_with(&folder, config(&[&service.url], &more), &world, Arc::new(OsDisk));
    for item in &items {
        obtain(&fetcher, item, Mode::Cached).await.unwrap();
        // Files that are written within one tick of the clock have no order.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let kept: Vec<String> = fetcher.status().unwrap().into_iter().map(|e| e.item).collect();
    let len: u64 = fetcher.status().unwrap().iter().map(|entry| entry.len).sum();
    assert!(len <= 3000, "{len}");
    assert!(!kept.contains(&items[0].name()), "the oldest goes: {kept:?}");
    assert!(kept.contains(&items[2].name()), "the newest stays: {kept:?}");
}
