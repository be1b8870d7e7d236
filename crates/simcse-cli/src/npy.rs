//! The array file of NumPy, format 1.0.

/// Bytes of a `.npy` file of little-endian float32, row-major `[values.len() / columns, columns]`.
pub(crate) fn bytes(values: &[f32], columns: usize) -> Vec<u8> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let rows = values.len() / columns.max(1);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic, two bytes of length, header and line end together are a multiple of 64 bytes.
    let padding =
        (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - (MAGIC.len() + 2 + header.len() + 1);
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    // Two numbers and a dozen words are far below 65,535 bytes.
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np, io; b = io.BytesIO()
    // np.save(b, np.array([[1, 2, 3], [-4.5, 0, 1e-9]], dtype='<f4')); b.getvalue().hex()
    #[test]
    fn bytes_are_those_of_numpy() {
        let hex: String =
            bytes(&[1.0, 2.0, 3.0, -4.5, 0.0, 1e-9], 3).iter().map(|byte| format!("{byte:02x}")).collect();
        let (head, tail) = hex.split_at(20);
        assert_eq!(head, "934e554d505901007600");
        assert_eq!(
            tail,
            concat!(
                "7b276465736372273a20273c6634272c2027666f727472616e5f6f72646572273a2046616c73652c",
                "20277368617065273a2028322c2033292c207d202020202020202020202020202020202020202020",
                "202020202020202020202020202020202020202020202020202020202020202020202020200a0000",
                "803f0000004000004040000090c0000000005f708930",
            )
        );
    }
}
