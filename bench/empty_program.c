// What bench/jailer_bench.py has jailers run: a program that ends at once.
int main(void) {
  return 0;
}
