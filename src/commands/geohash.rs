//! Geohashes of 52 bits, distances on a sphere, and which cells cover an area.
//!
//! A position is a cell of a grid: 26 bits of longitude and 26 of latitude, interleaved, latitude in the lowest bit, so
//! that positions close to each other mostly have close numbers. The latitudes are those of the Mercator projection
//! (EPSG:3857), as Redis documents it. Must not know what lies at a position.

use std::f64::consts::PI;
use std::ops::Range;

/// Bits of each coordinate.
const STEP: u32 = 26;
/// The greatest longitude, in degrees.
pub const MAX_LONGITUDE: f64 = 180.0;
/// The greatest latitude, in degrees.
pub const MAX_LATITUDE: f64 = 85.05112878;
/// In metres.
const EARTH_RADIUS: f64 = 6_372_797.560856;

/// A position, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    pub longitude: f64,
    pub latitude: f64,
}

fn interleave(latitude: u32, longitude: u32) -> u64 {
    (0..32).fold(0, |bits, at| {
        bits | u64::from(latitude >> at & 1) << (2 * at) | u64::from(longitude >> at & 1) << (2 * at + 1)
    })
}

/// Every other bit, from the lowest on.
fn deinterleave(bits: u64) -> u32 {
    (0..32).fold(0, |word, at| word | ((bits >> (2 * at) & 1) as u32) << at)
}

/// The number of the cell of a coordinate between -`limit` and `limit`.
fn cell(coordinate: f64, limit: f64, step: u32) -> u32 {
    let offset = (coordinate + limit) / (limit + limit);
    (offset * (1u64 << step) as f64) as u32
}

impl Position {
    /// Is it on the map?
    pub fn is_valid(self) -> bool {
        self.longitude.abs() <= MAX_LONGITUDE && self.latitude.abs() <= MAX_LATITUDE
    }

    /// Its geohash.
    pub fn encode(self) -> u64 {
        interleave(cell(self.latitude, MAX_LATITUDE, STEP), cell(self.longitude, MAX_LONGITUDE, STEP))
    }

    /// The middle of a cell.
    pub fn decode(bits: u64) -> Position {
        let middle = |cell: u32, limit: f64| {
            let edge = |cell: f64| -limit + cell / (1u64 << STEP) as f64 * (limit + limit);
            ((edge(f64::from(cell)) + edge(f64::from(cell) + 1.0)) / 2.0).clamp(-limit, limit)
        };
        Position {
            longitude: middle(deinterleave(bits >> 1), MAX_LONGITUDE),
            latitude: middle(deinterleave(bits), MAX_LATITUDE),
        }
    }

    /// The text of the common geohash, for which latitudes go up to 90 degrees: 11 characters, of which 52 bits fill ten.
    pub fn text(self) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = interleave(cell(self.latitude, 90.0, STEP), cell(self.longitude, MAX_LONGITUDE, STEP));
        let digit = |at: u32| if at < 10 { bits >> (52 - 5 * (at + 1)) & 31 } else { 0 };
        (0..11).map(|at| char::from(ALPHABET[digit(at) as usize])).collect()
    }

    /// Metres along a great circle (the haversine formula).
    pub fn distance(self, other: Position) -> f64 {
        let half_longitude = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if half_longitude == 0.0 {
            return meridian_distance(self.latitude, other.latitude);
        }
        let (one, two) = (radians(self.latitude), radians(other.latitude));
        let half_latitude = ((two - one) / 2.0).sin();
        let square = half_latitude * half_latitude + one.cos() * two.cos() * half_longitude * half_longitude;
        2.0 * EARTH_RADIUS * square.sqrt().asin()
    }
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

fn meridian_distance(one: f64, other: f64) -> f64 {
    EARTH_RADIUS * (radians(other) - radians(one)).abs()
}

/// An area around a centre; lengths are in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Shape {
    /// The distance of a position from the centre, if it is within the area.
    pub fn distance_within(self, centre: Position, other: Position) -> Option<f64> {
        match self {
            Shape::Circle { radius } => Some(centre.distance(other)).filter(|&distance| distance <= radius),
            Shape::Box { width, height } => {
                // Along the other's parallel, and along its meridian.
                if meridian_distance(centre.latitude, other.latitude) > height / 2.0 {
                    return None;
                }
                let beside = Position { longitude: centre.longitude, latitude: other.latitude };
                (other.distance(beside) <= width / 2.0).then(|| centre.distance(other))
            }
        }
    }

    /// Ranges of geohashes that together have every position of the area, and few others.
    pub fn cover(self, centre: Position) -> Vec<Range<u64>> {
        let (height, width) = match self {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (height / 2.0, width / 2.0),
        };
        let up = degrees(height / EARTH_RADIUS);
        let (low, high) = (centre.latitude - up, centre.latitude + up);
        // How far a parallel's arc of this length reaches at the latitude that is closest to a pole.
        let narrowest = radians(low.abs().max(high.abs())).cos();
        let half = (width / EARTH_RADIUS / 2.0).sin() / narrowest;
        let is_around = low <= -90.0 || high >= 90.0 || half >= 1.0 || width / EARTH_RADIUS >= PI;
        let aside = if is_around { 2.0 * MAX_LONGITUDE } else { degrees(2.0 * half.asin()) };
        // The finest grid of which a few cells are enough.
        let fits = |step: u32| {
            let cells = (1u64 << step) as f64;
            2.0 * aside <= 4.0 * MAX_LONGITUDE / cells && 2.0 * up <= 4.0 * MAX_LATITUDE / cells
        };
        let step = (1..=STEP).rev().find(|&step| fits(step)).unwrap_or(1);
        let count = 1i64 << step;
        let row = |latitude: f64| {
            let latitude = latitude.clamp(-MAX_LATITUDE, MAX_LATITUDE);
            i64::from(cell(latitude, MAX_LATITUDE, step)).min(count)
        };
        // Around the edge of the map where longitudes meet. One cell more at each side hides what rounding may lose.
        let column =
            |longitude: f64| ((longitude + MAX_LONGITUDE) / (2.0 * MAX_LONGITUDE) * count as f64).floor() as i64;
        let (first, last) = (column(centre.longitude - aside) - 1, column(centre.longitude + aside) + 1);
        let mut cells = Vec::new();
        for row in (row(low) - 1).max(0)..=(row(high) + 1).min(count) {
            for column in first..=last.min(first + count - 1) {
                let column = column.rem_euclid(count);
                cells.push(interleave(row as u32, column as u32));
                if column == 0 {
                    // The end of the map, 180 degrees, has a cell of its own.
                    cells.push(interleave(row as u32, count as u32));
                }
            }
        }
        cells.sort_unstable();
        let shift = 2 * (STEP - step);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for cell in cells {
            let (start, end) = (cell << shift, (cell + 1) << shift);
            match ranges.last_mut() {
                Some(range) if range.end == start => range.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_documentation() {
        let palermo = Position { longitude: 13.361389, latitude: 38.115556 };
        let catania = Position { longitude: 15.087269, latitude: 37.502669 };
        assert_eq!(palermo.encode(), 3_479_099_956_230_698);
        assert_eq!(Position::decode(palermo.encode()).text(), "sqc8b49rny0");
        let (one, other) = (Position::decode(palermo.encode()), Position::decode(catania.encode()));
        assert_eq!(format!("{:.4}", one.distance(other)), "166274.1516");
    }

    #[test]
    fn the_cells_cover_the_area() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut within = 0;
        for _ in 0..20_000 {
            let near = |random: &mut fastrand::Rng, limit: f64| match random.u8(..4) {
                0 => limit * if random.bool() { 1.0 } else { -1.0 },
                _ => limit * (2.0 * random.f64() - 1.0),
            };
            let any = |random: &mut fastrand::Rng| Position {
                longitude: near(random, MAX_LONGITUDE),
                latitude: near(random, MAX_LATITUDE),
            };
            let (centre, other) = (any(&mut random), any(&mut random));
            let scale = centre.distance(other) * (0.5 + random.f64());
            let shape = match random.bool() {
                true => Shape::Circle { radius: scale },
                false => Shape::Box { width: 2.0 * scale, height: 2.0 * scale * random.f64() },
            };
            let bits = other.encode();
            if shape.distance_within(centre, Position::decode(bits)).is_some() {
                within += 1;
                assert!(
                    shape.cover(centre).iter().any(|range| range.contains(&bits)),
                    "{centre:?} {other:?} {shape:?}"
                );
            }
        }
        assert!(within > 3_000, "{within}");
    }

    #[test]
    fn a_small_area_is_covered_by_few_cells() {
        let centre = Position { longitude: 2.0, latitude: 48.0 };
        let cells: u64 =
            Shape::Circle { radius: 100.0 }.cover(centre).iter().map(|range| range.end - range.start).sum();
        assert!(cells < 1 << 24, "{cells}");
    }
}
