//! Draws the table of one request through a whole router, as it stands in a document on standard
//! input, to standard output: each row a bar, as long as its ratio, on a logarithmic scale.

use std::io::{self, Read as _};

/// The length of a bar for a ratio of ten over one of one, in pixels.
const DECADE: f64 = 200.0;
/// The ratio at the left end.
const LEAST: f64 = 0.03;
const ROW: usize = 26;
const NAMES: usize = 400;

fn main() {
    let mut document = String::new();
    io::stdin().read_to_string(&mut document).expect("a document");
    let rows: Vec<(&str, f64)> = document.lines().filter_map(row).collect();
    let (width, height) = (NAMES + 660, (rows.len() + 2) * ROW);
    println!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>"##
    );
    for ratio in [0.1, 1.0, 10.0] {
        let x = NAMES as f64 + length(ratio);
        println!(
            r##"<line x1="{x:.0}" x2="{x:.0}" y1="8" y2="{}" stroke="#ccc"/><text x="{x:.0}" y="{}" text-anchor="middle" fill="#666">{ratio}</text>"##,
            height - ROW,
            height - 10
        );
    }
    for (index, (name, ratio)) in rows.iter().enumerate() {
        let (y, length) = (index * ROW + 10, length(*ratio));
        let colour = if name.contains("ours") { "#2a6fb0" } else { "#b8bec6" };
        println!(
            r##"<text x="{}" y="{}" text-anchor="end">{}</text><rect x="{NAMES}" y="{y}" width="{length:.0}" height="18" fill="{colour}"/><text x="{:.0}" y="{}">{ratio:.3}</text>"##,
            NAMES - 8,
            y + 14,
            name.replace('`', ""),
            NAMES as f64 + length + 6.0,
            y + 14
        );
    }
    println!("</svg>");
}

/// The name and the ratio of a row that is about a router.
fn row(line: &str) -> Option<(&str, f64)> {
    let mut cells = line.split('|').map(str::trim).skip(1);
    let name = cells.next().filter(|name| name.starts_with("router"))?;
    let ratio = cells.next()?.parse().ok()?;
    // other tables have no quartiles
    cells.next().filter(|quartiles| quartiles.contains(" to "))?;
    Some((name, ratio))
}

fn length(ratio: f64) -> f64 {
    DECADE * (ratio / LEAST).log10().max(0.0)
}
