//! The bus on the server in memory: whole files, workers' standings, and watches that outlive a crash.

use std::path::Path;
use std::time::Duration;

use memory_server::MemoryServer;
use sha2::{Digest, Sha256};
use shared::blob::BlobRef;
use shared::books::{Standing, WorkerRecord};
use shared::bus::{Bucket, Bus, BusError};
use shared::protocol::{StoredFile, subjects};

/// Bytes of every part of a stored file but the last.
const PART: usize = 64 << 20;

fn bus() -> Bus {
    MemoryServer::start(0, None, None).connect("test").0
}

fn blob(bytes: &[u8]) -> BlobRef {
    BlobRef { name: "b".into(), sha256: hex::encode(Sha256::digest(bytes)), size: bytes.len() as u64 }
}

#[tokio::test]
async fn a_file_comes_back_and_a_damaged_or_cut_one_is_mended() {
    let bus = bus();
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for size in [0, 1, PART, PART + 3] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        std::fs::write(&from, &bytes).unwrap();
        let stored = bus.put_file(Bucket::Packs, "f", &from).await.unwrap();
        assert_eq!((stored.size(), stored.parts.len()), (size as u64, size.div_ceil(PART).max(1)));
        for left in [bytes[..size / 2].to_vec(), vec![9; size + 7]] {
            std::fs::write(&to, left).unwrap();
            let mut arrived = 0;
            bus.get_file(Bucket::Packs, &stored, &to, &mut |part| arrived += part).await.unwrap();
            assert!(std::fs::read(&to).unwrap() == bytes, "{size} bytes");
            assert_eq!(arrived, size as u64);
        }
    }
}

#[tokio::test]
async fn lies_about_a_file_are_refused_before_anything_is_fetched() {
    let bus = bus();
    let path = Path::new("/nonexistent/never-made");
    let many = vec![blob(b""); StoredFile::MOST_PARTS + 1];
    let huge = vec![BlobRef { size: u64::MAX, ..blob(b"") }];
    let named = vec![BlobRef { name: "../../etc/passwd".into(), ..blob(b"") }];
    for parts in [many, huge, named] {
        let stored = StoredFile { parts };
        let refused = bus.get_file(Bucket::Packs, &stored, path, &mut |_| ()).await;
        assert!(matches!(refused, Err(BusError::Untrue { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn what_one_key_says_of_another_worker_is_not_believed() {
    let bus = bus();
    let lie = WorkerRecord::new("good", Standing::Unfit { reason: "x".into() });
    bus.write(&subjects::standing_key("liar"), &lie).await.unwrap();
    assert!(matches!(bus.standing("liar").await, Err(BusError::Untrue { .. })));
    assert_eq!(bus.standing("good").await.unwrap(), Standing::Trusted);
    let path = WorkerRecord::new("/etc/x", Standing::Trusted);
    bus.write_standing(&path).await.unwrap();
    assert!(matches!(bus.standing("/etc/x").await, Err(BusError::Untrue { .. })));
    assert_eq!(bus.standings().await.unwrap(), []);
}

/// After a crash this server continues a watch, ends it or goes deaf on it, depending on the seed.
#[tokio::test(start_paused = true)]
async fn a_feed_goes_on_after_a_crash_of_the_server() {
    for seed in 0..20 {
        let server = MemoryServer::start(seed, None, None);
        let bus = server.connect("test").0;
        let unfit = WorkerRecord::new("gpu0", Standing::Unfit { reason: "hot".into() });
        bus.write_standing(&unfit).await.unwrap();
        let mut feed = bus.feed(&[subjects::STANDING_KEYS]);
        assert_eq!(feed.standing().await, unfit);
        server.crash();
        server.restart();
        let trusted = WorkerRecord::new("gpu0", Standing::Trusted);
        bus.write_standing(&trusted).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(30), feed.standing()).await;
        assert_eq!(next.unwrap_or_else(|_| panic!("seed {seed}: nothing came")), trusted);
    }
}
