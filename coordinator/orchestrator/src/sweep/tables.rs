//! Tables of the report: their rows, and the paper's numbers for them.

use super::conditions::Known;
use super::plan::{PaperRow, TableRule};
use super::problem::Problem;
use super::spec::{Located, Table};

/// The rules of `tables`. Tables and rows without jobs are added to `problems`.
pub(super) fn resolve(tables: &[Table], known: Known<'_>, problems: &mut Vec<Problem>) -> Vec<TableRule> {
    for (index, table) in tables.iter().enumerate() {
        if tables[..index].iter().any(|other| other.title.value == table.title.value) {
            let message = format!("two tables have the title \"{}\"", table.title.value);
            problems.push(Problem::new(table.title.span, message));
        }
    }
    tables.iter().filter_map(|table| rule(table, known, problems)).collect()
}

fn rule(table: &Table, known: Known<'_>, problems: &mut Vec<Problem>) -> Option<TableRule> {
    let filter = known.filter(&table.filter, problems)?;
    let matching = known.matching(&filter);
    if matching.is_empty() {
        let message = format!("no job meets the conditions of table \"{}\"", table.title.value);
        problems.push(Problem::new(table.title.span, message));
        return None;
    }
    let rows = names(&table.rows);
    for (name, row) in table.mean_by.iter().zip(rows.iter().map(Some).chain(std::iter::repeat(None))) {
        if Some(&name.value) != row {
            let message =
                format!("`mean_by` must be the first of `rows`, in their order; got `{}`", name.value);
            problems.push(Problem::new(name.span, message));
            return None;
        }
    }
    let mut paper = Vec::new();
    for entry in &table.paper {
        if let Some((name, _)) = entry.value.row.iter().find(|(name, _)| !rows.contains(&name.value)) {
            let problem =
                Problem::new(name.span, format!("`{}` is not among the table's `rows`", name.value));
            problems.push(problem.suggest(&name.value, rows.iter().map(String::as_str)));
            continue;
        }
        let Some(row) = known.row(&entry.value.row, problems) else { continue };
        let fills = |&job: &usize| {
            row.iter().all(|(name, value)| known.jobs[job].value(name).as_ref() == Some(value))
        };
        if matching.iter().any(fills) {
            paper.push(PaperRow { row, f1: entry.value.f1 });
        } else {
            problems.push(Problem::new(entry.span, "no job of the table is in this row"));
        }
    }
    let title = table.title.value.clone();
    Some(TableRule { title, filter, rows, mean_by: names(&table.mean_by), paper })
}

fn names(names: &[Located<String>]) -> Vec<String> {
    names.iter().map(|name| name.value.clone()).collect()
}
