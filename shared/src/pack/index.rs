//! `samples.csv`: split, label, presence of landmarks and id of every sample, in order.

use super::{Sample, Split, check};

pub(super) const HEADER: &str = "split,label,landmarks,id\n";

/// One sample's line; the id comes last because it may contain commas.
pub(super) fn line(sample: &Sample<'_>) -> String {
    let label = sample.label.map_or(String::new(), |class| class.to_string());
    format!("{},{label},{},{}\n", sample.split, u8::from(sample.landmarks.is_some()), sample.id)
}

/// One line, read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) split: Split,
    pub(super) label: Option<u8>,
    pub(super) has_landmarks: bool,
    pub(super) id: &'a str,
}

/// Reads a whole file. An error is the line number (from 1) and the reason.
pub(super) fn parse(text: &str) -> Result<Vec<Entry<'_>>, (usize, String)> {
    let body = text.strip_prefix(HEADER).ok_or_else(|| (1, "not a sample list".to_owned()))?;
    if !body.is_empty() && !body.ends_with('\n') {
        return Err((text.lines().count(), "the last line is cut off".to_owned()));
    }
    let entries = body.split_terminator('\n').enumerate();
    entries.map(|(i, line)| entry(line).map_err(|reason| (i + 2, reason))).collect()
}

fn entry(line: &str) -> Result<Entry<'_>, String> {
    let mut fields = line.splitn(4, ',');
    let (Some(split), Some(label), Some(landmarks), Some(id)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("it has fewer than four fields".to_owned());
    };
    let split = Split::ALL
        .into_iter()
        .find(|known| known.name() == split)
        .ok_or_else(|| format!("{split:?} is not a split"))?;
    let label = match label {
        "" => None,
        class => Some(class.parse().map_err(|_| format!("{class:?} is not a class index"))?),
    };
    let has_landmarks = match landmarks {
        "0" => false,
        "1" => true,
        other => return Err(format!("landmarks is 0 or 1, not {other:?}")),
    };
    check(split, label, has_landmarks)?;
    Ok(Entry { split, label, has_landmarks, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_hold_commas() {
        let sample = Sample { split: Split::Test, id: "a,b.jpg", label: None, landmarks: None, pixels: &[] };
        let text = HEADER.to_owned() + &line(&sample);
        let entry = Entry { split: Split::Test, label: None, has_landmarks: false, id: "a,b.jpg" };
        assert_eq!(parse(&text).unwrap(), [entry]);
    }

    #[test]
    fn bad_lines_are_named() {
        for bad in ["dev,1,1,a", "train,6,1,a", "train,,1,a", "train,1,0,a", "test,1,2,a", "test,1"] {
            let text = format!("{HEADER}train,0,1,x\n{bad}\n");
            assert_eq!(parse(&text).unwrap_err().0, 3, "{bad}");
        }
        assert_eq!(parse(&format!("{HEADER}train,0,1,x")).unwrap_err().0, 2);
    }
}
