//! How far a check is, as one line of a terminal that is drawn over and over. Pure: whoever has the terminal writes what it gives.

/// The bar's own characters.
const WIDTH: u64 = 40;

/// Back to the line's beginning, and nothing behind what follows.
const OVERWRITE: &str = "\r\x1b[K";

/// A bar, and how far it was drawn.
#[derive(Debug, Default)]
pub(super) struct ProgressBar {
    drawn: Option<u64>,
}

impl ProgressBar {
    /// What to write when `done` of `total` runs are done; nothing if it would look the same, or if more were told to be done already, since runs
    /// that are replayed side by side report in any order.
    pub(super) fn draw(&mut self, done: u64, total: u64) -> Option<String> {
        let percent = percent(done, total);
        let is_last = done >= total;
        if self.drawn.is_some_and(|drawn| percent < drawn || (percent == drawn && !is_last)) {
            return None;
        }
        self.drawn = Some(percent);
        let filled = percent * WIDTH / 100;
        let bar: String = (0..WIDTH).map(|place| if place < filled { '#' } else { '.' }).collect();
        Some(format!("{OVERWRITE}[{bar}] {percent:>3} %, {done} of {total} runs"))
    }

    /// What to write when it is over: the line is empty again, for what is printed next.
    pub(super) fn clear(&self) -> &'static str {
        OVERWRITE
    }
}

/// Rounded down, so that only all is 100.
fn percent(done: u64, total: u64) -> u64 {
    done.min(total).saturating_mul(100).checked_div(total).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal shows after these reports.
    fn shown(reports: impl IntoIterator<Item = (u64, u64)>) -> Vec<String> {
        let mut bar = ProgressBar::default();
        let drawn = reports.into_iter().filter_map(|(done, total)| bar.draw(done, total));
        drawn.map(|line| line.strip_prefix(OVERWRITE).expect("it begins anew").to_owned()).collect()
    }

    #[test]
    fn it_fills_from_left_to_right() {
        let lines = shown([(0, 8), (2, 8), (8, 8)]);
        let expected = [
            "[........................................]   0 %, 0 of 8 runs",
            "[##########..............................]  25 %, 2 of 8 runs",
            "[########################################] 100 %, 8 of 8 runs",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn many_runs_draw_it_at_most_once_for_each_hundredth() {
        let lines = shown((0..=10_000).map(|done| (done, 10_000)));
        assert_eq!(lines.len(), 101);
        assert!(lines[99].ends_with(" 99 %, 9900 of 10000 runs"), "{}", lines[99]);
    }

    #[test]
    fn it_never_goes_back_when_runs_report_out_of_order() {
        let lines = shown([(50, 100), (49, 100), (51, 100), (100, 100), (99, 100)]);
        let told: Vec<&str> = lines.iter().map(|line| line.split_once("] ").expect("it has a bar").1).collect();
        assert_eq!(told, [" 50 %, 50 of 100 runs", " 51 %, 51 of 100 runs", "100 %, 100 of 100 runs"]);
    }

    #[test]
    fn no_runs_at_all_are_all_of_them() {
        assert_eq!(shown([(0, 0)]), ["[########################################] 100 %, 0 of 0 runs"]);
    }

    #[test]
    fn a_line_fits_a_terminal_of_eighty_columns() {
        let lines = shown([(99_999_999, 100_000_000)]);
        assert!(lines[0].chars().count() <= 80, "{}", lines[0]);
    }
}
