//! Killed imports: at every checkpoint, and with the damage that a kill may leave.

use super::*;

/// The only hidden folder beside the source, if there is one.
fn staging(source: &Source) -> Option<PathBuf> {
    let entries = fs::read_dir(source.root.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut found =
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".pack.import-"));
    let first = found.next();
    assert_eq!(found.next(), None);
    first
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

fn append(file: &Path, bytes: &[u8]) {
    let whole = fs::read(file).unwrap();
    fs::write(file, [&whole, bytes].concat()).unwrap();
}

/// A checkpoint after every eight images.
const PACE: Pace = Pace { batch: 8, checkpoint: 1 };

fn import_noting(source: &Source, options: &ImportOptions) -> (Report, Vec<String>) {
    let mut notes = Vec::new();
    let report = import_at(PACE, &source.pack_dir(), options, &mut |event| match event {
        Event::Note(note) => notes.push(note.to_owned()),
        Event::Done { .. } => {}
    });
    (report.unwrap(), notes)
}

/// 47 images in six batches. Some have problems, which must be remembered, too.
fn larger() -> (Source, ImportOptions) {
    let source = Source::small();
    for number in 100..140 {
        let file = format!("{TRAIN}/FEAR/{number}.jpg");
        if number % 9 == 0 {
            source.write(&file, "");
        } else {
            source.image(&file, number as u8);
        }
        source.marks(&format!("landmarks/{file}"), 0.25);
    }
    let options = source.options();
    (source, options)
}

#[test]
fn a_killed_import_continues_from_each_checkpoint_to_the_same_pack() {
    let (source, options) = larger();
    let copies = source.root.path().join("copies");
    let mut kills = Vec::new();
    let undisturbed = import_at(PACE, &source.pack_dir(), &options, &mut |event| {
        if let (Event::Done { done: done @ 1.., total }, Some(staged)) = (event, staging(&source))
            && done < total
        {
            // Copy what a kill would leave now.
            copy(&staged, &copies.join(done.to_string()));
            kills.push((done as usize, staged));
        }
    });
    let undisturbed = undisturbed.unwrap();
    assert_eq!(undisturbed.problems.len(), 4);
    assert_eq!(kills.iter().map(|(done, _)| *done).collect::<Vec<_>>(), [8, 16, 24, 32, 40]);
    for (done, staged) in kills {
        fs::remove_dir_all(source.pack_dir()).unwrap();
        copy(&copies.join(done.to_string()), &staged);
        // Add half of what would have been written next.
        append(&staged.join("journal.jsonl"), b"{\"done\":9999,\"chec");
        for file in ["pixels.bin", "landmarks.f32", "samples.csv"] {
            append(&staged.join("pack").join(file), b"torn");
        }
        let (resumed, notes) = import_noting(&source, &options);
        assert_eq!(resumed.resumed_at, done);
        assert!(notes[0].contains("continuing at image"), "{notes:?}");
        assert_eq!((&resumed.digest, &resumed.problems), (&undisturbed.digest, &undisturbed.problems));
        assert_eq!(resumed.tally, undisturbed.tally);
        Pack::open(&source.pack_dir()).unwrap().verify().unwrap();
        assert_eq!(staging(&source), None);
    }
}

/// Leaves `source` as a kill after the first checkpoint would.
fn kill(source: &Source, options: &ImportOptions) -> PathBuf {
    let aside = source.root.path().join("aside");
    let mut key = None;
    import_at(PACE, &source.pack_dir(), options, &mut |event| {
        if let (Event::Done { done: 1.., .. }, Some(staged), None) = (event, staging(source), &key) {
            copy(&staged, &aside);
            key = Some(staged);
        }
    })
    .unwrap();
    let staged = key.unwrap();
    fs::rename(aside, &staged).unwrap();
    fs::remove_dir_all(source.pack_dir()).unwrap();
    staged
}

#[test]
fn the_staging_of_another_import_is_removed_and_explained() {
    let (source, options) = larger();
    kill(&source, &options);
    let (report, notes) = import_noting(&source, &ImportOptions { image_size: 9, ..options.clone() });
    assert_eq!(report.resumed_at, 0);
    assert!(notes[0].contains("options differ: size 8"), "{notes:?}");

    kill(&source, &options);
    source.image(&format!("{TRAIN}/FEAR/120.jpg"), 3);
    let (report, notes) = import_noting(&source, &options);
    assert_eq!((report.resumed_at, staging(&source)), (0, None));
    assert!(notes[0].contains("source has changed"), "{notes:?}");

    kill(&source, &options);
    let unit = ImportOptions { landmark_unit: Some(Unit::Normalized), ..options };
    let (report, notes) = import_noting(&source, &unit);
    assert_eq!(report.resumed_at, 0);
    assert!(notes[0].contains("landmark unit recognised"), "{notes:?}");
}

#[test]
fn damaged_staging_is_started_over() {
    let (source, options) = larger();
    let staged = kill(&source, &options);
    let pixels = staged.join("pack/pixels.bin");
    let mut bytes = fs::read(&pixels).unwrap();
    bytes[77] ^= 1;
    fs::write(&pixels, bytes).unwrap();
    let (report, notes) = import_noting(&source, &options);
    assert_eq!((report.resumed_at, staging(&source)), (0, None));
    assert!(notes[0].contains("starting over"), "{notes:?}");
    Pack::open(&source.pack_dir()).unwrap().verify().unwrap();

    let staged = kill(&source, &options);
    fs::write(staged.join("journal.jsonl"), b"\xff\xfe\n").unwrap();
    let (report, _) = import_noting(&source, &options);
    assert_eq!((report.resumed_at, staging(&source)), (0, None));
}

#[test]
fn two_imports_of_the_same_source_do_not_mix() {
    let (source, options) = larger();
    let mut refused = None;
    import_at(PACE, &source.pack_dir(), &options, &mut |event| {
        if let (Event::Done { done: 1.., .. }, None) = (event, &refused) {
            refused = Some(import_at(PACE, &source.pack_dir(), &options, &mut |_| {}));
        }
    })
    .unwrap();
    assert!(matches!(refused, Some(Err(ImportError::Busy(_)))), "{refused:?}");
    assert_eq!(staging(&source), None);
}
