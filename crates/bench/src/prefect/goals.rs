//! What has to come of the measurements.

/// What was to come of them, and whether it did.
#[derive(Default)]
pub struct Goals(Vec<(String, bool)>);

impl Goals {
    /// Takes note of one.
    pub fn note(&mut self, goal: String, is_met: bool) {
        self.0.push((goal, is_met));
    }

    /// Says which were met. On a machine that does something else besides, a miss says little.
    pub fn show(&self) {
        println!();
        for (goal, is_met) in &self.0 {
            println!("{:<7} {goal}", if *is_met { "met" } else { "MISSED" });
        }
        let missed = self.0.iter().filter(|(_, is_met)| !is_met).count();
        println!("{missed} of {} goals missed", self.0.len());
    }
}
