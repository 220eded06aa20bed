//! `ferry eta`: when a sweep will be done, and what would change with more workers.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use orchestrator::cost::{COVERAGE, DeviceOutlook, Estimate, PeakMemory, in_words};
use orchestrator::service::{Eta, With, eta};
use shared::plural::count;
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::error::CommandError;

/// Tells when a sweep will be done, with an interval, and what would change with more workers.
///
/// It learns from the epochs that are finished and needs the books only, so it also works with the observer's credential
/// and while no `ferry run` is running.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry eta demo\n  ferry eta demo --add 2xgpu0 --add 'NVIDIA H200'\n  \
    ferry eta demo --json --nats tls://head:4222 --creds observer.creds\n\n\
    It counts on the workers that are there now, and on all of their time.")]
pub(crate) struct EtaArgs {
    /// Name of the sweep; may be left out if there is only one.
    sweep: Option<String>,
    /// What if so many more workers came: like the one with this name, or with this device. Part of a device's name is
    /// enough.
    #[arg(long, value_name = "[Nx]NAME")]
    add: Vec<More>,
    #[command(flatten)]
    books: BooksArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// So many more workers like one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct More {
    number: usize,
    like: String,
}

/// The most workers that may be added.
const MOST: usize = 10_000;

impl FromStr for More {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let counted =
            text.split_once(['x', '×']).and_then(|(number, like)| Some((number.parse().ok()?, like)));
        let (number, like) = counted.unwrap_or((1, text));
        let like = like.trim().trim_matches('"').to_owned();
        match number {
            _ if like.is_empty() => Err("name a worker or a device, such as 2xgpu0".to_owned()),
            1..=MOST => Ok(Self { number, like }),
            _ => Err(format!("add between 1 and {MOST} workers")),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Bad input when there is no such sweep or device, or the server's address or credential cannot be used; failed work
/// when it cannot be reached.
pub(crate) fn run(args: &EtaArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let told = runtime.map_err(anyhow::Error::from)?.block_on(async {
        let opened = Access::open(&args.books, "ferry-eta").await?;
        let access = opened.ok_or_else(|| CommandError::Input(anyhow!(args.books.no_sweep())))?;
        let add: Vec<(usize, String)> =
            args.add.iter().map(|more| (more.number, more.like.clone())).collect();
        let told = eta(&access.bus, args.sweep.as_deref(), &add).await;
        access.close().await;
        told.map_err(|error| CommandError::from(anyhow::Error::from(error)))
    })?;
    let text = if args.json {
        format!("{}\n", serde_json::to_value(&told).map_err(anyhow::Error::from)?)
    } else {
        plain(&text(&told))
    };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(Eta { sweep, left, devices, present, is_conducted, with }: &Eta) -> String {
    let mut text = format!("{sweep}: {left}\n");
    if left.jobs == 0 {
        return format!("{sweep}: nothing is left to do\n");
    }
    // Writing to a string cannot fail.
    if left.time.is_none() {
        text.push_str("  how long that takes is not known before an epoch is finished\n");
    } else {
        let _ = writeln!(text, "  the interval is meant to hold {} times in 10", (10.0 * COVERAGE).round());
    }
    shares(&mut text, devices);
    if *present == 0 {
        text.push_str("  no worker is there now: the time is that of one like those before\n");
    }
    if !is_conducted {
        text.push_str("  no `ferry run` of it is running: the time counts from when one is\n");
    }
    if let Some(With { added, left: more, devices }) = with {
        let _ = writeln!(text, "with {added}: {}", less(left.time, more.time));
        shares(&mut text, devices);
    }
    text
}

/// A line for each kind of device.
fn shares(text: &mut String, devices: &[DeviceOutlook]) {
    for DeviceOutlook { device, workers, jobs, seconds, memory } in devices {
        let busy = in_words(Duration::try_from_secs_f64(*seconds).unwrap_or_default());
        let workers = count(*workers, "worker");
        let _ = writeln!(text, "  {device}: {workers}, about {jobs:.0} of the jobs, busy for {busy}");
        if let Some(PeakMemory { likely, low, high }) = memory {
            let [likely, low, high] = [likely, low, high].map(|bytes| format!("{:.1}", bytes / 1e9));
            let _ =
                writeln!(text, "    its largest job takes about {likely} GB of memory ({low} to {high} GB)");
        }
    }
}

/// The time with more workers, and how much that saves.
fn less(before: Option<Estimate>, after: Option<Estimate>) -> String {
    let Some(after) = after else { return "not known before an epoch is finished".to_owned() };
    let saved = before.map_or(0.0, |before| before.likely - after.likely);
    match Duration::try_from_secs_f64(saved) {
        Ok(saved) if saved >= Duration::from_secs(1) => format!("{after}, {} less", in_words(saved)),
        Ok(_) | Err(_) => format!("{after}, no less"),
    }
}

#[cfg(test)]
mod tests {
    use orchestrator::service::Work;

    use super::*;

    #[test]
    fn workers_to_add_are_read() {
        let read = |text: &str| text.parse::<More>().map(|more| (more.number, more.like));
        assert_eq!(read("2xRTX 3090"), Ok((2, "RTX 3090".into())));
        assert_eq!(read("2x\"RTX 3090\""), Ok((2, "RTX 3090".into())));
        assert_eq!(read("gpu0"), Ok((1, "gpu0".into())));
        assert_eq!(read("RTX 3090"), Ok((1, "RTX 3090".into())));
        assert_eq!(read("xeon"), Ok((1, "xeon".into())));
        for bad in ["", "2x", "0xgpu0", "999999xgpu0"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_time_that_is_left_reads_well() {
        let device = |device: &str, workers, jobs, seconds| DeviceOutlook {
            device: device.to_owned(),
            workers,
            jobs,
            seconds,
            memory: None,
        };
        let time = |likely: f64| Some(Estimate { likely, low: 0.8 * likely, high: 1.25 * likely });
        let left = Work { jobs: 12, epochs: 140, workers: 2, time: time(4800.0) };
        let with = With {
            added: "2 more like gpu0".into(),
            left: Work { workers: 4, time: time(2520.0), ..left },
            devices: vec![device("NVIDIA H200", 4, 12.0, 2400.0)],
        };
        let told = Eta {
            sweep: "demo".into(),
            left,
            devices: vec![DeviceOutlook {
                memory: Some(PeakMemory { likely: 6.12e9, low: 5.8e9, high: 6.44e9 }),
                ..device("NVIDIA H200", 2, 12.0, 4500.0)
            }],
            present: 2,
            is_conducted: true,
            with: Some(with),
        };
        insta::assert_snapshot!(text(&told), @r"
        demo: 12 jobs, 140 epochs, about 1 h 20 min (1 h 4 min to 1 h 40 min) on 2 workers
          the interval is meant to hold 9 times in 10
          NVIDIA H200: 2 workers, about 12 of the jobs, busy for 1 h 15 min
            its largest job takes about 6.1 GB of memory (5.8 to 6.4 GB)
        with 2 more like gpu0: about 42 min 0 s (33 min 36 s to 52 min 30 s), 38 min 0 s less
          NVIDIA H200: 4 workers, about 12 of the jobs, busy for 40 min 0 s
        ");
        let unknown = Work { workers: 1, time: None, ..left };
        let told =
            Eta { left: unknown, devices: Vec::new(), present: 0, is_conducted: false, with: None, ..told };
        insta::assert_snapshot!(text(&told), @r"
        demo: 12 jobs, 140 epochs
          how long that takes is not known before an epoch is finished
          no worker is there now: the time is that of one like those before
          no `ferry run` of it is running: the time counts from when one is
        ");
        let over = Eta { left: Work::default(), ..told };
        assert_eq!(text(&over), "demo: nothing is left to do\n");
    }
}
