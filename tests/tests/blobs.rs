//! What Ferry relies on for blobs, checked on a real nats-server and on the one in memory: a blob is intact or refused,
//! and nothing is left after deletion.

use shared::blob::BlobRef;
use shared::bus::{Bucket, BusError};
use tests::backend::Backend;
use tests::on_both;

on_both!(
    blobs_are_whole_or_refused,
    pointers_that_cannot_be_ours_are_refused,
    a_blob_of_more_bytes_than_it_claims_is_refused,
    an_inventory_shows_what_is_there_and_deletion_leaves_nothing,
);

async fn blobs_are_whole_or_refused(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    for size in [0usize, 1, 512 * 1024, 9 << 20] {
        let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let blob = bus.put_blob(Bucket::Results, "b", bytes.clone().into()).await?;
        assert_eq!(bus.put_blob(Bucket::Results, "b", bytes.clone().into()).await?, blob);
        assert!(bus.get_blob(Bucket::Results, &blob).await? == bytes, "{size} bytes");
        let lie = BlobRef { sha256: "0".repeat(64), ..blob.clone() };
        assert!(matches!(bus.get_blob(Bucket::Results, &lie).await, Err(BusError::Damaged { .. })));
        bus.delete_blob(Bucket::Results, &blob.name).await?;
        bus.delete_blob(Bucket::Results, &blob.name).await?;
        assert!(matches!(bus.get_blob(Bucket::Results, &blob).await, Err(BusError::Missing { .. })));
        assert_eq!(bus.put_blob(Bucket::Results, "b", bytes.clone().into()).await?, blob);
        assert!(bus.get_blob(Bucket::Results, &blob).await? == bytes, "{size} bytes stored again");
    }
    Ok(())
}

async fn pointers_that_cannot_be_ours_are_refused(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let blob = bus.put_blob(Bucket::Checkpoints, "c", vec![7; 100].into()).await?;
    let lies = [
        BlobRef { size: u64::MAX, ..blob.clone() },
        BlobRef { name: "../../etc/passwd".into(), ..blob.clone() },
        BlobRef { name: "a".repeat(300), ..blob.clone() },
        BlobRef { sha256: "x".into(), ..blob.clone() },
    ];
    for lie in lies {
        let refused = bus.get_blob(Bucket::Checkpoints, &lie).await;
        assert!(matches!(refused, Err(BusError::Untrue { .. })), "{refused:?}");
    }
    Ok(())
}

async fn a_blob_of_more_bytes_than_it_claims_is_refused(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let blob = bus.put_blob(Bucket::Checkpoints, "c", vec![7; 3 << 20].into()).await?;
    let mut received = 0;
    let small = BlobRef { size: 10, ..blob };
    let read = bus.read_blob(Bucket::Checkpoints, &small, |chunk| {
        received += chunk.len();
        Ok(())
    });
    assert!(matches!(read.await, Err(BusError::Damaged { .. })));
    assert_eq!(received, 0, "nothing beyond the claim is taken");
    Ok(())
}

async fn an_inventory_shows_what_is_there_and_deletion_leaves_nothing(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let mut names = Vec::new();
    for n in 0..3u8 {
        names.push(bus.put_blob(Bucket::Checkpoints, &n.to_string(), vec![n; 1000].into()).await?.name);
    }
    let inventory = bus.inventory(Bucket::Checkpoints).await?;
    let found: Vec<(&str, u64)> = inventory.objects.iter().map(|o| (o.name.as_str(), o.size)).collect();
    assert_eq!(found, names.iter().map(|name| (name.as_str(), 1000)).collect::<Vec<_>>());
    assert!(inventory.objects.iter().all(|object| object.written_nanos > 0));
    assert_eq!(inventory.uploads, []);
    for name in &names {
        bus.delete_blob(Bucket::Checkpoints, name).await?;
    }
    let inventory = bus.inventory(Bucket::Checkpoints).await?;
    assert_eq!((inventory.objects.len(), inventory.bytes), (0, 0), "{inventory:?}");
    Ok(())
}
