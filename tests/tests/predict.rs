//! From a sweep to scored predictions without a server: models, predictions, scores, previews.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tests::programs::{Workdir, expect, root};

const ENSEMBLE: &str = "Best Strong & All Weak";

fn json(output: &Output) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn models(run: &Path) -> usize {
    std::fs::read_dir(run.join("models")).map_or(0, Iterator::count)
}

/// The only pack that was drawn for the sweep.
fn pack(workdir: &Workdir) -> anyhow::Result<PathBuf> {
    let mut packs = std::fs::read_dir(workdir.path().join(".ferry/data"))?;
    Ok(packs.next().expect("a pack was drawn")?.path())
}

#[test]
fn predictions_of_an_ensemble_have_the_scores_of_its_run() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let run = workdir.path().join("runs/smoke");
    expect(&mut workdir.ferry(&["run", &sweep, "--models", "none"]), 0)?;
    assert_eq!(models(&run), 0);
    let ensemble = format!("runs/smoke/{ENSEMBLE}");
    let pack = pack(&workdir)?.display().to_string();
    let words = ["predict", "--ensemble", &ensemble, "--images", &pack, "--device", "cpu", "--json"];
    let predict = |more: &[&str]| workdir.worker(&[&words[..], more].concat());
    let refused = expect(&mut predict(&["-o", "out.csv"]), 2)?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--models members"));

    // Nothing is trained again, and only the members' models are downloaded.
    expect(&mut workdir.ferry(&["run", &sweep]), 0)?;
    assert_eq!(models(&run), 3);
    let results: Value = serde_json::from_slice(&std::fs::read(run.join("results.json"))?)?;
    let expected = results["ensembles"].as_array().into_iter().flatten().find(|e| e["name"] == ENSEMBLE);
    let expected = expected.expect("smoke.yaml has this ensemble");
    for split in ["val", "test"] {
        let name = if split == "val" { "validation" } else { split };
        let told = expect(&mut predict(&["--split", name, "-o", "out.csv", "--submission", "sub.csv"]), 0)?;
        assert_eq!(
            (&json(&told)?["predicted"], &json(&told)?["models"][2]["best_epoch"].is_u64()),
            (&120.into(), &true)
        );
        for predictions in ["out.csv", "sub.csv"] {
            let labels = format!("runs/smoke/{split}.samples.csv");
            let words = ["evaluate", "--predictions", predictions, "--labels", &labels, "--json"];
            let score = json(&expect(&mut workdir.ferry(&words), 0)?)?;
            for figure in ["macro_f1", "per_class_f1", "confusion"] {
                assert_eq!(score[figure], expected[format!("{split}_{figure}")], "{predictions}: {figure}");
            }
        }
    }
    expect(&mut workdir.ferry(&["run", &sweep, "--models", "all"]), 0)?;
    assert_eq!(models(&run), 4);
    Ok(())
}

#[test]
fn a_job_is_previewed_by_the_beginning_of_its_id() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let absent = expect(&mut workdir.worker(&["preview", &sweep, "--job", "", "-o", "sheet.png"]), 2)?;
    assert!(String::from_utf8_lossy(&absent.stderr).contains("4 job ids start with"));
    let job = |workdir: &Workdir| -> anyhow::Result<String> {
        let plan = json(&expect(&mut workdir.ferry(&["plan", &sweep, "--json"]), 0)?)?;
        Ok(plan["jobs"][0]["id"].as_str().unwrap_or_default().to_owned())
    };
    let early =
        expect(&mut workdir.worker(&["preview", &sweep, "--job", &job(&workdir)?, "-o", "sheet.png"]), 2)?;
    assert!(String::from_utf8_lossy(&early.stderr).contains("`ferry run` draws it first"));

    expect(&mut workdir.ferry(&["run", &sweep]), 0)?;
    let job = job(&workdir)?;
    let words = ["preview", &sweep, "--job", &job[..8], "-o", "sheet.png", "--json"];
    let shown = json(&expect(&mut workdir.worker(&words), 0)?)?;
    assert_eq!((&shown["job"], shown["images"].as_array().map(Vec::len)), (&Value::from(job), Some(32)));
    assert!(std::fs::read(workdir.path().join("sheet.png"))?.starts_with(b"\x89PNG"));
    Ok(())
}
