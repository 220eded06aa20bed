//! Properties of every sweep: ids depend only on the jobs, and groups expand to what their axes say.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::subsequence;
use shared::ids::JobId;
use shared::trainer::TrainerKind;

use super::plan;
use super::plan::Plan;

/// Axes of which every value makes a different job, whatever the other settings are.
const AXES: [(&str, [&str; 3]); 4] = [
    ("heads", ["2", "3", "4"]),
    ("learning_rate", ["1.0e-3", "2.0e-3", "0.5"]),
    ("augmentation", ["none", "mixup", "mixaug"]),
    ("blocks", ["null", "[1, 1, 1, 1]", "[2, 2, 2, 2]"]),
];

#[derive(Debug, Clone)]
struct Group {
    axes: Vec<(&'static str, Vec<&'static str>)>,
    exclude: bool,
    include: usize,
}

impl Group {
    fn product(&self) -> usize {
        self.axes.iter().map(|(_, values)| values.len()).product()
    }

    /// Jobs with the first value of the first axis, which `exclude` leaves out if there is another value.
    fn excluded(&self) -> usize {
        let first = self.axes[0].1.len();
        if self.exclude && first > 1 { self.product() / first } else { 0 }
    }

    /// Group `number` of a file; the weight decay keeps the groups' jobs apart.
    fn write(&self, text: &mut String, number: usize) {
        write!(text, "  g{number}:\n    settings: {{weight_decay: 0.{number}1}}\n    matrix:\n").unwrap();
        for (name, values) in &self.axes {
            writeln!(text, "      {name}: [{}]", values.join(", ")).unwrap();
        }
        if self.excluded() > 0 {
            writeln!(text, "    exclude: [{{{}: {}}}]", self.axes[0].0, self.axes[0].1[0]).unwrap();
        }
        let included: Vec<String> = (0..self.include).map(|n| format!("{{epochs: {}}}", n + 20)).collect();
        writeln!(text, "    include: [{}]", included.join(", ")).unwrap();
    }
}

fn group() -> impl Strategy<Value = Group> {
    let axes = (subsequence(AXES.to_vec(), 1..=4).prop_shuffle(), 0_usize..3);
    let axes = axes.prop_flat_map(|(axes, _)| {
        let values = axes.into_iter().map(|(name, values)| {
            subsequence(values.to_vec(), 1..=3).prop_shuffle().prop_map(move |values| (name, values))
        });
        values.collect::<Vec<_>>()
    });
    (axes, any::<bool>(), 0_usize..3).prop_map(|(axes, exclude, include)| Group { axes, exclude, include })
}

fn file(name: &str, groups: &[(usize, Group)], rest: &str) -> String {
    let mut text = format!("name: {name}\ndataset: nowhere\ngroups:\n");
    for (number, group) in groups {
        group.write(&mut text, *number);
    }
    text + rest
}

fn planned(text: &str) -> Plan {
    plan(text, Path::new(""), Path::new("")).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
}

fn ids(text: &str) -> BTreeSet<JobId> {
    planned(text).jobs.iter().map(|job| job.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_group_has_its_product_less_excludes_plus_includes(groups in prop::collection::vec(group(), 1..4)) {
        let expected: usize = groups.iter().map(|g| g.product() - g.excluded() + g.include).sum();
        let text = file("a", &groups.into_iter().enumerate().collect::<Vec<_>>(), "");
        let plan = planned(&text);
        prop_assert_eq!(plan.jobs.len(), expected);
        prop_assert_eq!(planned(&text), plan);
    }

    #[test]
    fn only_the_jobs_make_the_ids(groups in prop::collection::vec(group(), 1..4)) {
        let groups: Vec<_> = groups.into_iter().enumerate().collect();
        let original = ids(&file("a", &groups, ""));
        let mut turned = groups.clone();
        turned.reverse();
        for (_, group) in &mut turned {
            // The exclude names the first axis's first value, so the first axis stays first.
            group.axes[1..].reverse();
            group.axes.iter_mut().skip(1).for_each(|(_, values)| values.reverse());
        }
        prop_assert_eq!(&ids(&file("another-name", &turned, "")), &original);
        let rest = "ensembles: {e: {members: [{where: {group: g0}}]}}\ntables: [{title: t, rows: [heads]}]\n";
        prop_assert_eq!(&ids(&file("a", &groups, rest)), &original);
    }
}

#[test]
fn equal_jobs_of_two_groups_are_one() {
    let text =
        "name: a\ndataset: d\ngroups:\n  x: {matrix: {heads: [1, 2]}}\n  y: {matrix: {heads: [2, 3]}}\n";
    let plan = planned(&format!("{text}ensembles: {{e: {{members: [{{where: {{group: y}}}}]}}}}\n"));
    assert_eq!(plan.jobs.len(), 3);
    assert_eq!((plan.jobs[1].group.as_str(), plan.jobs[1].also_in.as_slice()), ("x", &["y".to_owned()][..]));
    assert_eq!(plan.ensembles[0].size, 2);
}

#[test]
fn numbers_are_compared_as_the_setting_has_them() {
    let text = "name: a\ndataset: d\ngroups:\n  x: {matrix: {alpha: [1, 0.5], blocks: [null, [1, 1, 1, 1]]}}\n\
                ensembles:\n  e: {members: [{where: {alpha: 1.0, blocks: [1, 1, 1, 1]}}]}\n  \
                f: {members: [{where: {blocks: [null, [1, 1, 1, 1]]}}]}\n";
    let sizes: Vec<usize> = planned(text).ensembles.iter().map(|rule| rule.size).collect();
    assert_eq!(sizes, [1, 4]);
}

#[test]
fn a_preset_stands_for_settings_and_what_is_named_wins() {
    let head = "name: a\ndataset: d\n";
    let preset = format!(
        "{head}defaults: {{preset: authors-code, weight_decay: 0.5}}\n\
         groups: {{x: {{matrix: {{heads: [2]}}, settings: {{mixaug_terms: virtual}}}}}}\n"
    );
    let by_hand = format!(
        "{head}defaults: {{head_fusion: sum, class_weights: inverse_share, affinity_labels: partner, \
         mixaug_terms: virtual, basic_off: jitter, augmentation_draw: batch, weight_decay: 0.5}}\n\
         groups: {{x: {{matrix: {{heads: [2]}}}}}}\n"
    );
    let [preset, by_hand] = [planned(&preset), planned(&by_hand)];
    assert_eq!(
        (preset.jobs[0].id, &preset.jobs[0].settings),
        (by_hand.jobs[0].id, &by_hand.jobs[0].settings)
    );
    assert_eq!(preset.jobs[0].value("preset"), Some("authors-code".into()));
    assert_eq!(by_hand.jobs[0].value("preset"), Some("paper".into()));
}

#[test]
fn a_preset_may_be_an_axis_a_condition_and_a_row() {
    let text = "name: a\ndataset: d\ngroups:\n  x:\n    matrix: {preset: [paper, authors-code], heads: [2, 4]}\n    \
                exclude: [{preset: paper, heads: 2}, {head_fusion: sum, heads: 4}]\n    \
                include: [{preset: authors-code, weight_decay: 0.1}]\n\
                ensembles: {e: {members: [{where: {preset: authors-code}}]}}\n\
                tables: [{title: t, rows: [preset], paper: [{preset: authors-code, f1: 50}]}]\n";
    let plan = planned(text);
    let seen =
        plan.jobs.iter().map(|job| (job.params["preset"].clone(), job.settings["weight_decay"].clone()));
    let expected = [("paper", 1e-4), ("authors-code", 0.0), ("authors-code", 0.1)];
    assert!(seen.eq(expected.map(|(preset, decay)| (preset.into(), decay.into()))), "{:?}", plan.jobs);
    assert_eq!(plan.ensembles[0].size, 2);
    // The default preset is the same whether it is named or not.
    let named = planned("name: a\ndataset: d\ngroups: {x: {matrix: {preset: [paper]}}}\n");
    let unnamed = planned("name: a\ndataset: d\ngroups: {x: {matrix: {heads: [4]}}}\n");
    assert_eq!(named.jobs[0].id, unnamed.jobs[0].id);
}

#[test]
fn the_digest_of_a_pack_that_is_there_makes_the_ids() {
    let root = tempfile::tempdir().unwrap();
    let text = "name: a\ndataset: {synthetic: {train: 6, validation: 6, test: 6, image_size: 16}}\n\
                groups: {x: {matrix: {heads: [1]}}}\n";
    let before = plan(text, root.path(), root.path()).unwrap();
    assert_eq!(before.dataset_digest, None);
    let Some(plan::DatasetSource::Synthetic(options)) = &before.dataset else {
        panic!("{:?}", before.dataset)
    };
    let dir = super::dataset::synthetic_dir(root.path(), options);
    let digest = crate::data::synth::synthesize(&dir, options, &mut |_, _| {}).unwrap();
    let after = plan(text, root.path(), root.path()).unwrap();
    assert_eq!(after.dataset_digest.as_deref(), Some(digest.as_str()));
    assert_eq!(after.jobs[0].id, shared::mtl::Mtl.job(&after.jobs[0].settings.to_map(), &digest).id());
    assert_ne!(after.jobs[0].id, before.jobs[0].id);
    std::fs::write(dir.join("pack.json"), "{}").unwrap();
    assert!(plan(text, root.path(), root.path()).is_err());
}

/// Comparing these values pair by pair would take five billion comparisons.
#[test]
fn the_longest_axis_is_looked_through() {
    let values: Vec<String> = (0..100_000).chain([7]).map(|n| n.to_string()).collect();
    let axis =
        format!("name: a\ndataset: x\ngroups:\n  g:\n    matrix:\n      seed: [{}]\n", values.join(", "));
    let problems = plan(&axis, Path::new(""), Path::new("")).unwrap_err();
    assert!(problems[0].message.contains("lists 7 twice"), "{problems:?}");
    assert_eq!(problems.len(), 1);
}
