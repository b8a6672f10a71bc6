"""The tests, a package so that files of one name in two folders are told apart. They mirror what they test."""
