//! Predictions, labels and lists of images as tables, sample lists, and matrices of probabilities.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::expression::CLASSES;
use shared::predicted::{self, Prediction};
use shared::predictions::{SampleList, from_npy, to_npy};

fuzz_target!(|data: &[u8]| {
    if let Ok(rows) = predicted::read(data) {
        assert!(rows.iter().all(|row| row.line > 0 && row.class.is_none_or(|class| class < CLASSES)));
        let certain = |row: &predicted::Classified| Prediction {
            image: row.image.clone(),
            probabilities: std::array::from_fn(|class| f64::from(u8::from(row.class == Some(class)))),
        };
        let predictions: Vec<Prediction> = rows.iter().map(certain).collect();
        for text in [predicted::to_csv(&predictions), predicted::to_submission(&predictions)] {
            let back = predicted::read(text.as_bytes()).expect("what was written is read");
            let images =
                |rows: &[predicted::Classified]| rows.iter().map(|row| row.image.clone()).collect::<Vec<_>>();
            assert_eq!(images(&back), images(&rows));
        }
    }
    if let Ok(rows) = predicted::read_list(data) {
        assert!(!rows.is_empty());
    }
    if let Ok(rows) = from_npy(data) {
        assert_eq!(from_npy(&to_npy(&rows)).as_ref(), Ok(&rows));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(list) = SampleList::from_csv(text)
    {
        assert_eq!(SampleList::from_csv(&list.to_csv()).as_ref(), Ok(&list));
    }
});
