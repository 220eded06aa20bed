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

/// What people read of the commands that use finished jobs.
#[test]
fn finished_models_are_used_and_described() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    expect(&mut workdir.ferry(&["run", &sweep]), 0)?;
    let pack = pack(&workdir)?.display().to_string();
    let model =
        std::fs::read_dir(workdir.path().join("runs/smoke/models"))?.next().expect("a member")?.path();
    let (model, job) =
        (model.display().to_string(), model.file_stem().unwrap_or_default().display().to_string());
    let text = |words: &[&str]| -> anyhow::Result<String> {
        let output = expect(&mut workdir.worker(words), 0)?;
        // The numbers differ between kinds of processors.
        Ok(without_digits(&String::from_utf8(output.stdout)?.replace(&job, "JOB")))
    };
    let predict = ["predict", "--model", &model, "--images", &pack, "--device", "cpu", "-o", "out.csv"];
    insta::assert_snapshot!(text(&predict)?, @"
    # images, # broken; # model on cpu, # s
    Anger #, Disgust #, Fear #, Happiness #, Sadness #, Surprise #
    ");
    insta::assert_snapshot!(text(&["export", &model, "-o", "model.pt"])?, @"
    model.pt: # MB of TorchScript
      forward: images [B, #, #, #], normalised as `imagenet` -> probabilities [B, #]
    ");
    insta::assert_snapshot!(text(&["reproduce", &sweep, "--job", &job, "--device", "cpu"])?, @"
    epoch #: F# #
    epoch #: F# #
    job JOB did not fail on cpu
    ");
    let preview = text(&["preview", &sweep, "--job", &job, "-o", "sheet.png"])?;
    insta::assert_snapshot!(preview.lines().last().unwrap_or_default(), @"job JOB, epoch #: sheet.png");
    Ok(())
}

/// Every number, such as 12 or 0.5, as `#`.
fn without_digits(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '0'..='9' if shown.ends_with('#') => {}
            '0'..='9' => shown.push('#'),
            other => shown.push(other),
        }
    }
    shown.replace("#.#", "#")
}
