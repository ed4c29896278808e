//! Many holders of a limit of one, by Prefect's own client: how long the slot is idle between two, and who goes
//! first.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use admit_testing::prefect_client;
use tempfile::TempDir;

use super::goals::Goals;
use super::peers::{Peer, Peers};
use crate::Result;
use crate::stats::percentile;

/// Between the arrivals of processes that come one after the other.
const APART: Duration = Duration::from_millis(500);

/// No slot is to be idle for so long while somebody waits, in seconds.
const MAX_IDLE_S: f64 = 1.5;

/// One use of the slot. Times are seconds since 1970.
#[derive(Debug, Clone)]
struct Held {
    process: usize,
    number: usize,
    asked: f64,
    began: f64,
    ended: f64,
}

/// A process with holders.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    _home: TempDir,
}

/// A case: holders of each process, and for how long each holds the slot.
struct Case {
    name: &'static str,
    processes: &'static [(usize, f64)],
    /// Whether the processes begin one after the other, so that the order of arrival is known.
    apart: bool,
    /// In how many seconds all have to end; none: there is no goal.
    within_s: Option<f64>,
}

/// What came of a case.
struct Came {
    row: String,
    total_s: f64,
    max_idle_s: f64,
    most_at_once: usize,
    /// Whether they went in the order of their arrival; none: it is not known.
    is_ordered: Option<bool>,
}

const CASES: &[Case] = &[
    Case {
        name: "1 process, 20 holders of 100 ms",
        processes: &[(20, 0.1)],
        apart: false,
        within_s: Some(3.2),
    },
    Case {
        name: "3 processes, 20 holders of 100 ms",
        processes: &[(7, 0.1), (7, 0.1), (6, 0.1)],
        apart: false,
        within_s: None,
    },
    Case {
        name: "3 processes, two wait for 90 s",
        processes: &[(1, 90.0), (1, 1.0), (1, 1.0)],
        apart: true,
        within_s: None,
    },
];

/// Runs the benchmark.
pub fn run(peers: &Peers, goals: &mut Goals) -> Result<()> {
    println!(
        "\n{:<34} {:<20} {:>8} {:>10} {:>10} {:>9}  order",
        "limit 1", "server", "total s", "idle p50 s", "idle max s", "at once"
    );
    for case in CASES {
        // Those who mostly sleep may do so side by side; the others would take each other's processor.
        let came: Vec<Result<Came>> = if case.apart {
            thread::scope(|scope| {
                let runs: Vec<_> = peers
                    .all
                    .iter()
                    .map(|peer| scope.spawn(|| run_case(case, peer).map_err(|error| error.to_string())))
                    .collect();
                runs.into_iter()
                    .map(|run| run.join().map_err(|_| "a thread panicked")?.map_err(Into::into))
                    .collect()
            })
        } else {
            peers.all.iter().map(|peer| run_case(case, peer)).collect()
        };
        for (at, came) in came.into_iter().enumerate() {
            let came = came?;
            println!("{}", came.row);
            // Admit is the first.
            if at == 0 {
                note(case, &came, goals);
            }
        }
    }
    Ok(())
}

fn note(case: &Case, came: &Came, goals: &mut Goals) {
    let name = case.name;
    goals.note(format!("{name}: one at a time ({})", came.most_at_once), came.most_at_once == 1);
    let idle_s = came.max_idle_s;
    goals.note(format!("{name}: idle for less than {MAX_IDLE_S} s ({idle_s:.2})"), idle_s < MAX_IDLE_S);
    if let Some(within_s) = case.within_s {
        let total_s = came.total_s;
        goals.note(format!("{name}: all within {within_s} s ({total_s:.2})"), total_s < within_s);
    }
    if let Some(is_ordered) = came.is_ordered {
        goals.note(format!("{name}: in order of arrival"), is_ordered);
    }
}

fn run_case(case: &Case, peer: &Peer) -> Result<Came> {
    let url = format!("http://{}/api", peer.host);
    let start = |(count, hold_s): &(usize, f64)| Process::start(&url, *count, *hold_s);
    let mut processes: Vec<Process> = case.processes.iter().map(start).collect::<Result<_>>()?;
    for (at, process) in processes.iter_mut().enumerate() {
        if case.apart && at > 0 {
            thread::sleep(APART);
        }
        process.begin()?;
    }
    let mut all = Vec::new();
    for (at, process) in processes.into_iter().enumerate() {
        all.extend(process.end(at)?);
    }
    all.sort_by(|a, b| a.began.total_cmp(&b.began));
    let first = all.iter().map(|held| held.asked).fold(f64::INFINITY, f64::min);
    let last = all.iter().map(|held| held.ended).fold(0.0, f64::max);
    let mut idle: Vec<f64> = all.windows(2).map(|pair| (pair[1].began - pair[0].ended).max(0.0)).collect();
    let at_once =
        |one: &Held| all.iter().filter(|other| other.began <= one.began && one.began < other.ended).count();
    let most_at_once = all.iter().map(at_once).max().unwrap_or(0);
    let (total_s, max_idle_s) = (last - first, percentile(&mut idle, 1.0));
    let is_ordered = is_ordered(case, &all);
    let order = match is_ordered {
        Some(true) => "of arrival".to_owned(),
        Some(false) => "not of arrival".to_owned(),
        None => {
            let turns = all.chunk_by(|a, b| a.process == b.process).map(<[Held]>::len).max();
            format!("at most {} of one process in a row", turns.unwrap_or(0))
        }
    };
    let row = format!(
        "{:<34} {:<20} {total_s:>8.2} {:>10.3} {max_idle_s:>10.2} {most_at_once:>9}  {order}",
        case.name,
        peer.name,
        percentile(&mut idle, 0.5),
    );
    Ok(Came { row, total_s, max_idle_s, most_at_once, is_ordered })
}

/// Whether who came first went first. Where processes arrive together, each has one request under way at a time, so
/// that turns are what can be fair.
fn is_ordered(case: &Case, all: &[Held]) -> Option<bool> {
    let place = |held: &Held| if case.apart { held.process } else { held.number };
    let is_known = case.apart || case.processes.len() == 1;
    is_known.then(|| all.windows(2).all(|pair| place(&pair[0]) <= place(&pair[1])))
}

impl Process {
    /// Starts it, and waits until it is ready to begin.
    fn start(url: &str, count: usize, hold_s: f64) -> Result<Process> {
        let home = tempfile::tempdir()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/prefect/holders.py");
        let mut child = prefect_client(home.path(), url)?
            .arg(script)
            .args(["one", &count.to_string(), &hold_s.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(home.path().join("errors"))?)
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut process = Process { child, output, _home: home };
        let mut line = String::new();
        process.output.read_line(&mut line)?;
        if line.trim() == "ready" { Ok(process) } else { Err(process.failure()) }
    }

    fn begin(&mut self) -> Result<()> {
        let mut input = self.child.stdin.take().ok_or("it began already")?;
        Ok(writeln!(input)?)
    }

    /// Waits for its end; what it did.
    fn end(mut self, process: usize) -> Result<Vec<Held>> {
        let mut all = Vec::new();
        for line in (&mut self.output).lines() {
            let line = line?;
            let words: Vec<f64> = line.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
            let [number, asked, began, ended] = words[..] else { return Err(self.failure()) };
            all.push(Held { process, number: number as usize, asked, began, ended });
        }
        if self.child.wait()?.success() { Ok(all) } else { Err(self.failure()) }
    }

    fn failure(&self) -> Box<dyn std::error::Error> {
        let said = std::fs::read_to_string(self._home.path().join("errors")).unwrap_or_default();
        format!("Prefect's client failed: {said}").into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
