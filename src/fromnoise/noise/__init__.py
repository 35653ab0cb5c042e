"""The mathematics of going from noise to picture. Knows no network: it is handed callables."""
