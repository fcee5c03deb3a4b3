/** The tool of these programs: the status of an order. */

export const name = 'order_status';
export const description = 'Look up where an order is.';
export const parameters = {
  type: 'object' as const,
  properties: { order_id: { type: 'string' } },
  required: ['order_id'],
};

export const tools = {
  /** Say where an order is. */
  async order_status({ order_id }: { order_id: string }): Promise<string> {
    return `Order ${order_id} left the warehouse in Leipzig on Monday; it arrives on Thursday.`;
  },
};
