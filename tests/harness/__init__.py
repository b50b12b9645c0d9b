# SPDX-License-Identifier: Apache-2.0
"""What tests/run is made of."""
