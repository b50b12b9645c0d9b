// SPDX-License-Identifier: Apache-2.0
// The first link's symbol table: none.
	.section .note.GNU-stack, "", @progbits
