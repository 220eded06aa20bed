//! Names of settings, values and numbers for people. Unknown ones are shown as in the sweep file.

use serde_json::Value;
use shared::blob::shortened;

use super::results::ScoreWarning;
use crate::sweep::plan::Filter;

/// Settings that only repeat a configuration with other random draws.
pub(super) const SEEDS: [&str; 2] = ["subset_seed", "seed"];

/// A setting's name as a column heading, in the paper's words where it has them.
pub(super) fn setting(name: &str) -> String {
    match name {
        "augmentation" => "Method".to_owned(),
        "backbone" => "Appearance".to_owned(),
        "emotion_backbone" => "Emotion".to_owned(),
        "basic_augmentation" => "Basic aug".to_owned(),
        "subset_seed" => "Subset".to_owned(),
        "subset_fraction" => "Share of training set".to_owned(),
        other => {
            let words = other.replace('_', " ");
            let mut letters = words.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
        }
    }
}

/// A setting's value in a cell.
pub(super) fn value(name: &str, value: &Value) -> String {
    match (name, value) {
        (_, Value::Bool(true)) => "on".to_owned(),
        (_, Value::Bool(false)) => "off".to_owned(),
        (_, Value::Null) => "–".to_owned(),
        ("augmentation" | "backbone" | "emotion_backbone", Value::String(text)) => match text.as_str() {
            "mixaug" => "Mix-aug".to_owned(),
            "mixup" => "Mix-up".to_owned(),
            "vggface2_resnet50" => "VGGFace2 (ResNet50)".to_owned(),
            "dino_resnet50" => "DINO (ResNet50)".to_owned(),
            "resnet18" => "ResNet18".to_owned(),
            "mobilevitv2" => "MobileViTv2".to_owned(),
            other => other.to_owned(),
        },
        (_, Value::String(text)) => shortened(text).to_owned(),
        (_, other) => other.to_string(),
    }
}

/// A value without a column heading. The setting's name is added, unless the value explains itself.
pub(super) fn standing_alone(name: &str, v: &Value) -> String {
    match name {
        "augmentation" | "backbone" | "group" => value(name, v),
        _ => format!("{} {}", setting(name).to_lowercase(), value(name, v)),
    }
}

/// A filter in words, such as `weak, Mix-up`. An empty filter matches every job.
pub(super) fn filter(filter: &Filter) -> String {
    if filter.is_empty() {
        return "all jobs".to_owned();
    }
    // The group first, then the settings by name.
    let (groups, settings): (Vec<_>, Vec<_>) = filter.iter().partition(|(name, _)| *name == "group");
    let condition = |(name, values): &(&String, &Vec<Value>)| {
        let values: Vec<String> = values.iter().map(|v| standing_alone(name, v)).collect();
        values.join(" or ")
    };
    groups.iter().chain(&settings).map(condition).collect::<Vec<_>>().join(", ")
}

/// F1 in percent with the paper's two decimals.
pub(super) fn f1(value: f64) -> String {
    // A decimal half is rarely exact in binary: 68.455 is stored a little lower and would round down.
    format!("{:.2}", value + 1e-9)
}

/// A number of any scale, to four digits.
pub(super) fn number(value: f64) -> String {
    if value.abs() < f64::MIN_POSITIVE {
        return "0".to_owned();
    }
    match value.abs().log10().floor() as i32 {
        magnitude @ -4..=9 => format!("{value:.*}", usize::try_from(3 - magnitude).unwrap_or(0)),
        _ => format!("{value:.3e}"),
    }
}

/// F1, followed by warnings in brackets: `6.70 (diverged, chance level)`.
pub(super) fn f1_with_warnings(value: Option<f64>, warnings: &[ScoreWarning]) -> String {
    with_warnings(f1_or_dash(value), warnings)
}

/// A score as it is written, followed by warnings in brackets.
pub(super) fn with_warnings(value: String, warnings: &[ScoreWarning]) -> String {
    let brief: Vec<&str> = warnings.iter().map(|warning| warning.kind.brief()).collect();
    if brief.is_empty() { value } else { format!("{value} ({})", brief.join(", ")) }
}

/// F1, or a dash if there is none.
pub(super) fn f1_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), f1)
}

/// A signed difference, with a typographic minus sign.
pub(super) fn difference(value: f64) -> String {
    let text = format!("{value:+.2}");
    match text.strip_prefix('-') {
        Some("0.00") => "0.00".to_owned(),
        Some(digits) => format!("−{digits}"),
        None if text == "+0.00" => "0.00".to_owned(),
        None => text,
    }
}

/// Ours minus the paper's, if both are known.
pub(super) fn gap(ours: Option<f64>, paper: Option<f64>) -> String {
    ours.zip(paper).map_or_else(|| "–".to_owned(), |(ours, paper)| difference(ours - paper))
}

/// Seconds as `42 s`, `3 min 05 s`, `2 h 07 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_read_well() {
        assert_eq!(difference(-1.234), "−1.23");
        assert_eq!(f1((69.51 + 67.28 + 70.57 + 66.46) / 4.0), "68.46");
        assert_eq!(difference(0.5), "+0.50");
        assert_eq!(difference(-0.001), "0.00");
        for (value, text) in [(0.0, "0"), (3.0, "3.000"), (-0.012_345, "-0.01235"), (54_321.9, "54322")] {
            assert_eq!(number(value), text);
        }
        assert_eq!((number(1.5e-7), number(2.0e12)), ("1.500e-7".to_owned(), "2.000e12".to_owned()));
        assert_eq!(duration(59.6), "1 min 00 s");
        assert_eq!(duration(7_620.0), "2 h 07 min");
    }

    #[test]
    fn known_names_are_the_papers_and_others_stay_as_written() {
        assert_eq!(value("backbone", &json!("mobilevitv2")), "MobileViTv2");
        assert_eq!(value("head_fusion", &json!("log_softmax")), "log_softmax");
        assert_eq!(setting("learning_rate"), "Learning rate");
        let weak = Filter::from([
            ("augmentation".to_owned(), vec![json!("mixup")]),
            ("group".to_owned(), vec![json!("weak")]),
        ]);
        assert_eq!(filter(&weak), "weak, Mix-up");
    }
}
