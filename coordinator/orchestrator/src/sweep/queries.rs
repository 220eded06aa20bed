//! Ensembles as queries over the jobs: what each can select, how many members it gets, and the rule in words.

use std::collections::{BTreeSet, HashMap};

use super::conditions::Known;
use super::plan::{EnsembleRule, Filter, PlannedJob, Query};
use super::problem::Problem;
use super::spec::{Ensemble, Located, Member};

/// The rules of `ensembles`. Queries that cannot select anything are added to `problems`.
pub(super) fn resolve(
    ensembles: &[(Located<String>, Ensemble)],
    known: Known<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<EnsembleRule> {
    let mut rules = Vec::new();
    for (name, ensemble) in ensembles {
        // All members are resolved before any is refused, so that all problems are reported.
        let queries: Vec<Option<Query>> =
            ensemble.members.iter().map(|member| query(member, known, problems)).collect();
        if let Some(members) = queries.into_iter().collect::<Option<Vec<_>>>() {
            let size = size(&members, known.jobs).most;
            rules.push(EnsembleRule { name: name.value.clone(), members, size, paper: ensemble.paper });
        }
    }
    rules
}

fn query(member: &Located<Member>, known: Known<'_>, problems: &mut Vec<Problem>) -> Option<Query> {
    let Member { filter, top, best_group } = &member.value;
    let filter = known.filter(filter, problems)?;
    let candidates = known.matching(&filter);
    if candidates.is_empty() {
        let message = "no job meets all of these conditions; the ensemble would select nothing";
        problems.push(Problem::new(member.span, message));
        return None;
    }
    match (top, best_group.as_slice()) {
        (Some(top), [_, ..]) => {
            let message = "`top` and `best_group` cannot be combined; write two members";
            problems.push(Problem::new(top.span, message));
            None
        }
        (Some(top), []) if top.value > candidates.len() as u64 => {
            let found = candidates.len();
            let message = format!("`top` asks for the {} best, but only {found} jobs match", top.value);
            problems.push(Problem::new(top.span, message));
            None
        }
        (Some(top), []) => Some(Query::Top { k: top.value as usize, filter }),
        (None, []) => Some(Query::All { filter }),
        (None, [first, ..]) => {
            let by: Vec<String> = best_group.iter().map(|name| name.value.clone()).collect();
            if group_sizes(&candidates, &by, known.jobs).len() == 1 {
                let message = format!("the matching jobs all have the same {}", ticked(&by));
                let help = "name a setting that differs among them, or leave `best_group` out";
                problems.push(Problem::new(first.span, message).help(help));
                return None;
            }
            Some(Query::BestGroup { by, filter })
        }
    }
}

/// Sizes of the groups into which the values of `by` divide `candidates`, in no particular order.
fn group_sizes(candidates: &[usize], by: &[String], jobs: &[PlannedJob]) -> Vec<usize> {
    let mut groups: HashMap<Vec<_>, usize> = HashMap::new();
    for &candidate in candidates {
        let key: Vec<_> = by.iter().map(|name| jobs[candidate].value(name)).collect();
        *groups.entry(key).or_default() += 1;
    }
    groups.into_values().collect()
}

/// Number of members of an ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub most: usize,
    /// False when the number depends on the scores: queries may pick the same job, or groups differ in size.
    pub exact: bool,
}

/// How many of `jobs` the union of `queries` can select.
pub fn size(queries: &[Query], jobs: &[PlannedJob]) -> Size {
    let mut sure = BTreeSet::new();
    let mut picks = Vec::new();
    for query in queries {
        let (Query::All { filter } | Query::Top { filter, .. } | Query::BestGroup { filter, .. }) = query;
        let candidates: Vec<usize> = (0..jobs.len()).filter(|&job| jobs[job].matches(filter)).collect();
        match query {
            Query::All { .. } => sure.extend(candidates),
            Query::Top { k, .. } if *k == candidates.len() => sure.extend(candidates),
            Query::Top { k, .. } => picks.push((candidates, vec![*k])),
            Query::BestGroup { by, .. } => {
                let sizes = group_sizes(&candidates, by, jobs);
                picks.push((candidates, sizes));
            }
        }
    }
    let mut size = Size { most: sure.len(), exact: true };
    let mut reachable = sure.clone();
    for (candidates, sizes) in picks {
        if candidates.iter().all(|job| sure.contains(job)) {
            continue;
        }
        size.most += sizes.iter().max().copied().unwrap_or_default();
        let same_size = sizes.iter().all(|size| *size == sizes[0]);
        size.exact &= same_size && !candidates.iter().any(|job| reachable.contains(job));
        reachable.extend(candidates);
    }
    size.most = size.most.min(reachable.len());
    size
}

/// The rule of `query` in words.
pub fn words(query: &Query) -> String {
    match query {
        Query::All { filter } if filter.is_empty() => "all jobs".to_owned(),
        Query::All { filter } => format!("all with {}", conditions(filter)),
        Query::Top { k: 1, filter } => format!("the best with {}", conditions(filter)),
        Query::Top { k, filter } => format!("the {k} best with {}", conditions(filter)),
        Query::BestGroup { by, filter } => {
            format!("those with the best {} on average, among {}", ticked(by), conditions(filter))
        }
    }
}

fn ticked(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Conditions in words: `group strong, augmentation mixup or mixaug`.
pub fn conditions(filter: &Filter) -> String {
    if filter.is_empty() {
        return "any settings".to_owned();
    }
    let plain = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let condition = |(name, values): (&String, &Vec<serde_json::Value>)| {
        format!("{name} {}", values.iter().map(plain).collect::<Vec<_>>().join(" or "))
    };
    // The group comes first, because it says most.
    let (group, settings): (Vec<_>, Vec<_>) = filter.iter().partition(|(name, _)| *name == "group");
    group.into_iter().chain(settings).map(condition).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shared::mtl::MtlSpec;

    /// Six jobs: heads 1 to 3 with epochs 1, heads 1 to 3 with epochs 2.
    fn jobs() -> Vec<PlannedJob> {
        let job = |number: u32| {
            let spec = MtlSpec::default();
            let spec = spec.with("heads", json!(number % 3 + 1)).unwrap();
            let spec = spec.with("epochs", json!(number / 3 + 1)).unwrap();
            let group = "g".to_owned();
            let settings = spec.settings();
            PlannedJob {
                id: spec.id(""),
                group,
                also_in: Vec::new(),
                params: settings.clone().into(),
                settings: settings.into(),
            }
        };
        (0..6).map(job).collect()
    }

    fn filter(name: &str, values: &[u32]) -> Filter {
        Filter::from([(name.to_owned(), values.iter().map(|value| json!(value)).collect())])
    }

    #[track_caller]
    fn check(queries: &[Query], most: usize, exact: bool) {
        assert_eq!(size(queries, &jobs()), Size { most, exact });
    }

    #[test]
    fn sizes_are_exact_where_the_scores_cannot_change_them() {
        let all = |epochs| Query::All { filter: filter("epochs", &[epochs]) };
        let top = |k, epochs| Query::Top { k, filter: filter("epochs", &[epochs]) };
        let best =
            |heads: &[u32]| Query::BestGroup { by: vec!["heads".into()], filter: filter("heads", heads) };
        check(&[all(1), all(1)], 3, true);
        check(&[all(1), top(2, 2)], 5, true);
        check(&[all(1), top(2, 1)], 3, true);
        check(&[best(&[1, 2])], 2, true);
        check(&[best(&[1, 2]), best(&[3])], 4, true);
        check(&[top(3, 1), top(3, 2)], 6, true);
        // The jobs with the best heads and the best jobs with one epoch may overlap.
        check(&[best(&[1, 2]), top(1, 1)], 3, false);
        check(&[top(2, 1), top(2, 1)], 3, false);
    }

    #[test]
    fn groups_of_different_size_leave_the_size_open() {
        let filter = Filter::from([("heads".to_owned(), vec![json!(1), json!(2)])]);
        let lopsided: Vec<PlannedJob> = jobs().into_iter().skip(1).collect();
        let queries = [Query::BestGroup { by: vec!["heads".into()], filter }];
        assert_eq!(size(&queries, &lopsided), Size { most: 2, exact: false });
    }

    #[test]
    fn rules_read_as_words() {
        let group = ("group".to_owned(), vec![json!("g")]);
        let filter = Filter::from([("epochs".to_owned(), vec![json!(1), json!(2)]), group]);
        assert_eq!(words(&Query::Top { k: 2, filter }), "the 2 best with group g, epochs 1 or 2");
    }
}
