//! Symmetric positive definite matrices: Cholesky's factor, solutions, the inverse. Small and dense.

/// The lower triangular `L` with `L · Lᵀ` = the matrix, row by row.
#[derive(Debug, Clone)]
pub(super) struct Cholesky {
    size: usize,
    rows: Vec<f64>,
}

impl Cholesky {
    /// Factors a symmetric matrix of `size` rows. A pivot that rounding has made too small is raised, so that this cannot
    /// fail; matrices here have a prior on their diagonal.
    pub(super) fn of(matrix: &[f64], size: usize) -> Self {
        let mut rows = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let (row_i, row_j) = (&rows[i * size..i * size + j], &rows[j * size..j * size + j]);
                let dot: f64 = row_i.iter().zip(row_j).map(|(a, b)| a * b).sum();
                let rest = matrix[i * size + j] - dot;
                rows[i * size + j] = if i == j { rest.max(1e-12).sqrt() } else { rest / rows[j * size + j] };
            }
        }
        Self { size, rows }
    }

    /// Solves `L · x = b`.
    fn forward(&self, b: &[f64]) -> Vec<f64> {
        let mut x = b.to_vec();
        for i in 0..self.size {
            let row = &self.rows[i * self.size..];
            let dot: f64 = row[..i].iter().zip(&x).map(|(a, b)| a * b).sum();
            x[i] = (x[i] - dot) / row[i];
        }
        x
    }

    /// Solves `Lᵀ · x = b`. If `b` is standard normal, the covariance of `x` is the inverse of the matrix.
    pub(super) fn backward(&self, b: &[f64]) -> Vec<f64> {
        let mut x = b.to_vec();
        for i in (0..self.size).rev() {
            x[i] /= self.rows[i * self.size + i];
            let at_i = x[i];
            for (j, value) in x[..i].iter_mut().enumerate() {
                *value -= self.rows[i * self.size + j] * at_i;
            }
        }
        x
    }

    /// Solves `matrix · x = b`.
    pub(super) fn solve(&self, b: &[f64]) -> Vec<f64> {
        self.backward(&self.forward(b))
    }

    /// The inverse of the matrix, row by row.
    pub(super) fn inverse(&self) -> Vec<f64> {
        let mut inverse = Vec::with_capacity(self.size * self.size);
        let mut unit = vec![0.0; self.size];
        for i in 0..self.size {
            unit[i] = 1.0;
            inverse.extend(self.solve(&unit));
            unit[i] = 0.0;
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let matrix = [4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0];
        let factor = Cholesky::of(&matrix, 3);
        let inverse = factor.inverse();
        for i in 0..3 {
            for j in 0..3 {
                let product: f64 = (0..3).map(|k| matrix[i * 3 + k] * inverse[k * 3 + j]).sum();
                let wanted = if i == j { 1.0 } else { 0.0 };
                assert!((product - wanted).abs() < 1e-12, "{i} {j}: {product}");
            }
        }
        let x = factor.solve(&[1.0, 2.0, 3.0]);
        let back: Vec<f64> = (0..3).map(|i| (0..3).map(|k| matrix[i * 3 + k] * x[k]).sum()).collect();
        assert!(back.iter().zip([1.0, 2.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-12), "{back:?}");
    }
}
